// The examples of docs/clients.md: each block under a client's heading runs by itself, as readers copy it.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";

const PAGE = new URL("../../../docs/clients.md", import.meta.url);
// Packages are found from within this folder only.
const EXAMPLES = new URL("node_modules/.examples/", import.meta.url);

/** Return the JavaScript blocks between this second-level heading and the next. */
export function blocks(heading) {
  const [, section] = readFileSync(PAGE, "utf8").split(`\n## ${heading}\n`);
  if (section === undefined) throw new Error(`docs/clients.md has no heading "${heading}"`);
  return [...section.split("\n## ")[0].matchAll(/^```js\n(.*?)^```/gms)].map((found) => found[1]);
}

/** Run a block in a process of its own, and return its printed text. */
export function printed(block) {
  mkdirSync(EXAMPLES, { recursive: true });
  const program = new URL(`${process.pid}-${block.length}.mjs`, EXAMPLES);
  writeFileSync(program, block);
  return execFileSync(process.execPath, [program.pathname], { encoding: "utf8" });
}
