// The official client for Node, in the version that OPENAI_PACKAGE names.
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { CHAT, DIMENSIONS, EMBEDS, apiKey, baseURL } from "./demo.mjs";
import { blocks, printed } from "./documented.mjs";

const PACKAGE = process.env.OPENAI_PACKAGE ?? "openai";
const { default: OpenAI } = await import(PACKAGE);
const { zodResponseFormat } = await import(`${PACKAGE}/helpers/zod`);
const { z } = await import("zod");

const bank = new OpenAI({ baseURL, apiKey });
const calm = { model: CHAT, max_tokens: 96, temperature: 0, frequency_penalty: 1 };
const question = { role: "user", content: "What is the weather in Paris?" };
const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Say the weather of a place.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

describe("example", () => {
  test("the documented example prints an answer", () => {
    for (const block of blocks("openai for Node")) {
      assert.ok(printed(block.replace('from "openai"', `from "${PACKAGE}"`)).trim());
    }
  });
});

describe("conversation", () => {
  test("the messages of answers go back as they came", async () => {
    const messages = [{ role: "system", content: "Be brief." }];
    for (const content of ["What is a bank?", "And a lease?", "Thank you."]) {
      messages.push({ role: "user", content });
      const answer = await bank.chat.completions.create({ ...calm, max_tokens: 12, messages });
      messages.push(answer.choices[0].message);
      assert.ok(answer.choices[0].message.content);
    }
  });
});

describe("tools", () => {
  test("a named tool is called, and the call and its result go back", async () => {
    const tool_choice = { type: "function", function: { name: "get_weather" } };
    const answer = await bank.chat.completions.create({ ...calm, messages: [question], tools: [weather], tool_choice });
    const [call] = answer.choices[0].message.tool_calls;
    assert.equal(call.function.name, "get_weather");
    assert.equal(typeof JSON.parse(call.function.arguments).city, "string");
    const result = { role: "tool", tool_call_id: call.id, content: "Sunny, 21 degrees." };
    const messages = [question, answer.choices[0].message, result];
    const second = await bank.chat.completions.create({ ...calm, messages, tools: [weather], tool_choice: "none" });
    assert.ok(second.choices[0].message.content);
  });

  test("a required tool is called in a stream", async () => {
    const stream = bank.chat.completions.stream({
      ...calm,
      messages: [question],
      tools: [weather],
      tool_choice: "required",
    });
    const { choices } = await stream.finalChatCompletion();
    assert.equal(choices[0].finish_reason, "tool_calls");
    assert.ok(JSON.parse(choices[0].message.tool_calls[0].function.arguments));
  });

  test("a runner calls the function and answers after it", async () => {
    const asked = [];
    const runner = bank.chat.completions.runTools({
      ...calm,
      messages: [question],
      tool_choice: { type: "function", function: { name: "get_weather" } },
      tools: [{ ...weather, function: { ...weather.function, parse: JSON.parse, function: ({ city }) => asked.push(city) } }],
    });
    await runner.done();
    assert.equal(asked.length, 1);
  });

  test("a model that may choose answers", async () => {
    const answer = await bank.chat.completions.create({ ...calm, messages: [question], tools: [weather] });
    assert.ok(answer.choices[0].message.content || answer.choices[0].message.tool_calls);
  });
});

describe("structured output", () => {
  test("an answer is an object of the schema", async () => {
    const Event = z.object({ name: z.string(), day: z.number().int() });
    const answer = await bank.chat.completions.parse({
      ...calm,
      messages: [{ role: "user", content: "Alice and Bob go to a fair on day 5." }],
      response_format: zodResponseFormat(Event, "event"),
    });
    assert.ok(Event.parse(answer.choices[0].message.parsed));
  });
});

describe("streaming", () => {
  test("chunks make an answer and end with usage", async () => {
    const stream = await bank.chat.completions.create({
      ...calm,
      messages: [{ role: "user", content: "What is a bank?" }],
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    let usage = null;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.ok(text);
    assert.ok(usage.completion_tokens > 0);
  });
});

describe("embeddings", () => {
  test("vectors are the same in both encodings", async () => {
    const input = ["A bank takes deposits.", "What is a lease?"];
    const decoded = await bank.embeddings.create({ model: EMBEDS, input });
    const numbers = await bank.embeddings.create({ model: EMBEDS, input, encoding_format: "float" });
    decoded.data.forEach(({ embedding }, index) => {
      assert.equal(embedding.length, DIMENSIONS);
      embedding.forEach((value, at) => assert.ok(Math.abs(value - numbers.data[index].embedding[at]) < 1e-6));
    });
  });
});
