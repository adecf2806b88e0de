import assert from "node:assert/strict";
import { test } from "node:test";
import { tidyComplaints } from "../scripts/tidy.ts";

test("src/ keeps its layers, doors and ports", () => {
  assert.deepEqual(tidyComplaints("."), []);
});
