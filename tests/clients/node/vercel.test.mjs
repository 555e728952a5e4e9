// Vercel's AI SDK, with its provider for servers that speak OpenAI's API.
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, embedMany, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

import { CHAT, DIMENSIONS, EMBEDS, apiKey, baseURL } from "./demo.mjs";
import { blocks, printed } from "./documented.mjs";

const bank = createOpenAICompatible({ name: "finpool", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true });
const calm = { model: bank.chatModel(CHAT), maxOutputTokens: 96, temperature: 0, frequencyPenalty: 1 };
const prompt = "What is the weather in Paris?";
const weather = () => {
  const asked = [];
  const execute = async ({ city }) => {
    asked.push(city);
    return `It is sunny in ${city}.`;
  };
  const inputSchema = z.object({ city: z.string() });
  return { asked, tools: { getWeather: tool({ description: "Say the weather of a place.", inputSchema, execute }) } };
};

describe("example", () => {
  test("the documented example prints an answer", () => {
    for (const block of blocks("Vercel AI SDK")) assert.ok(printed(block).trim());
  });
});

describe("conversation", () => {
  test("the messages of a response go back", async () => {
    const messages = [{ role: "user", content: "What is a bank?" }];
    for (const content of ["And a lease?", "Thank you."]) {
      const { response, text } = await generateText({ ...calm, messages, maxOutputTokens: 12 });
      assert.ok(text);
      messages.push(...response.messages, { role: "user", content });
    }
    assert.ok((await generateText({ ...calm, messages })).text);
  });
});

describe("tools", () => {
  test("a call runs the function, and its result goes back", async () => {
    const { asked, tools } = weather();
    const first = await generateText({ ...calm, prompt, tools, toolChoice: { type: "tool", toolName: "getWeather" } });
    assert.equal(asked.length, 1);
    const messages = [{ role: "user", content: prompt }, ...first.response.messages];
    assert.ok((await generateText({ ...calm, messages, tools, toolChoice: "none" })).text);
  });

  test("a loop of required calls ends at its bound", async () => {
    const { asked, tools } = weather();
    const { steps } = await generateText({ ...calm, prompt, tools, toolChoice: "required", stopWhen: stepCountIs(2) });
    assert.equal(steps.length, 2);
    assert.ok(asked.length >= 2);
  });

  test("a call can be streamed", async () => {
    const { asked, tools } = weather();
    await streamText({ ...calm, prompt, tools, toolChoice: "required" }).consumeStream();
    assert.ok(asked.length >= 1);
  });

  test("a model that may choose answers", async () => {
    const { text, toolCalls } = await generateText({ ...calm, prompt, tools: weather().tools });
    assert.ok(text || toolCalls.length);
  });
});

describe("structured output", () => {
  const schema = z.object({ name: z.string(), day: z.number().int() });
  const asked = { ...calm, prompt: "Alice and Bob go to a fair on day 5.", output: Output.object({ schema }) };

  test("an output is an object of the schema", async () => {
    assert.ok(schema.parse((await generateText(asked)).output));
  });

  test("an object can be streamed", async () => {
    assert.ok(schema.parse(await streamText(asked).output));
  });
});

describe("streaming", () => {
  test("the parts of the text make the whole, and usage is known", async () => {
    const streamed = streamText({ ...calm, prompt: "What is a bank?" });
    let text = "";
    for await (const part of streamed.textStream) text += part;
    assert.equal(text, await streamed.text);
    assert.ok((await streamed.usage).outputTokens > 0);
  });
});

describe("embeddings", () => {
  test("texts have vectors of one length", async () => {
    const values = ["A bank takes deposits.", "What is a lease?"];
    const { embeddings } = await embedMany({ model: bank.embeddingModel(EMBEDS), values });
    assert.deepEqual(embeddings.map((each) => each.length), [DIMENSIONS, DIMENSIONS]);
  });
});
