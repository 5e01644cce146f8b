// openai-node asks what tests/integration/openai_edge/test_node.py compares: prints one line of JSON.
import OpenAI, { toFile } from "openai";

const client = new OpenAI({ maxRetries: 0 });

const models = await client.models.list();
const embedded = await client.embeddings.create({ model: models.data[0].id, input: ["one", "two"] });

const store = await client.vectorStores.create({ name: "notes", metadata: { team: "birds" } });
const batch = await client.vectorStores.fileBatches.uploadAndPoll(
  store.id,
  {
    files: [
      await toFile(Buffer.from("Thin shells buckle under pressure."), "shells.txt"),
      await toFile(Buffer.from("The kingfisher dives for fish."), "birds.txt"),
    ],
  },
  { pollIntervalMs: 50 },
);
const found = await client.vectorStores.search(store.id, { query: "Which bird catches fish?", max_num_results: 1 });
const listed = [];
for await (const file of client.vectorStores.files.list(store.id, { limit: 1, order: "asc" })) listed.push(file.status);
const content = await (await client.files.content(found.data[0].file_id)).text();

let refused = null;
try {
  await client.embeddings.create({ model: models.data[0].id, input: [1, 2, 3] });
} catch (error) {
  refused = { name: error.constructor.name, status: error.status, code: error.code, param: error.param, type: error.type };
}
const deleted = await client.vectorStores.delete(store.id);

console.log(
  JSON.stringify({
    models: models.data.map((each) => each.id),
    dimensions: embedded.data.map((each) => each.embedding.length),
    store: [store.name, store.metadata],
    batch: [batch.status, batch.file_counts.completed],
    found: [found.data[0].filename, found.data[0].content[0].text],
    listed,
    content,
    refused,
    deleted: deleted.deleted,
  }),
);
