import assert from "node:assert/strict";
import { test } from "node:test";
import { EMPTY_BYTES, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import { ConfChangeError } from "../../src/raft/conf_change.ts";
import {
  confChangeOf,
  decodeConfChange,
  decodeConfChangeV2,
  encodeConfChange,
  encodeConfChangeV2,
} from "../../src/raft/conf_change_wire.ts";
import {
  type ConfChange,
  ConfChangeTransition,
  ConfChangeType,
  type ConfChangeV2,
  EntryType,
} from "../../src/raft/types.ts";

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function bytes(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

const change: ConfChange = { id: 0n, type: ConfChangeType.addVoter, nodeId: 0n, context: EMPTY_BYTES };

test("conf changes are the bytes that raftpb of raft 3.7.0 writes", () => {
  const boot = { ...change, nodeId: 0x8e9e05c52164694dn, context: utf8("{}") };
  assert.equal(hex(encodeConfChange(boot)), "100018cdd2918bd2b881cf8e0122027b7d");
  const remove = { ...change, id: 7587862094000000001n, type: ConfChangeType.remove, nodeId: 2n };
  assert.equal(hex(encodeConfChange(remove)), "08819896ecf48be0a66910011802");
  const general: ConfChangeV2 = {
    transition: ConfChangeTransition.jointExplicit,
    changes: [
      { type: ConfChangeType.addVoter, nodeId: 3n },
      { type: ConfChangeType.addLearner, nodeId: 300n },
    ],
    context: utf8("x"),
  };
  assert.equal(hex(encodeConfChangeV2(general)), "08021204080010031205080310ac021a0178");
  const leave = { transition: ConfChangeTransition.auto, changes: [], context: EMPTY_BYTES };
  assert.equal(hex(encodeConfChangeV2(leave)), "");
});

test("conf changes survive encoding and decoding", () => {
  const prng = new Prng(1);
  const id = () => (BigInt(prng.uint32()) << 32n) | BigInt(prng.uint32());
  const type = () => prng.below(4) as ConfChangeType;
  const context = () => utf8("c".repeat(prng.below(300)));
  for (let round = 0; round < 500; round += 1) {
    const one: ConfChange = { id: id(), type: type(), nodeId: id(), context: context() };
    assert.deepEqual(decodeConfChange(encodeConfChange(one)), one);
    const many: ConfChangeV2 = {
      transition: prng.below(3) as ConfChangeTransition,
      changes: Array.from({ length: prng.below(5) }, () => ({ type: type(), nodeId: id() })),
      context: context(),
    };
    assert.deepEqual(decodeConfChangeV2(encodeConfChangeV2(many)), many);
  }
});

test("absent fields have raftpb's defaults, unknown ones are passed over, the last of two counts", () => {
  assert.deepEqual(decodeConfChange(EMPTY_BYTES), change);
  // Field 9 as varint, 10 as bytes, 11 as fixed64, 12 as fixed32; then node_id 5, then node_id 6.
  const text = "4801" + "5202aabb" + "590102030405060708" + "6501020304" + "1805" + "1806";
  assert.deepEqual(decodeConfChange(bytes(text)), { ...change, nodeId: 6n });
});

test("bytes that are no conf change are refused", () => {
  const bad = [
    "18",
    "1880",
    "2205aa",
    "1004",
    "0004",
    "1b",
    "1a0101",
    "20",
    "5901",
    "18ffffffffffffffffffff01",
  ];
  for (const text of bad) assert.throws(() => decodeConfChange(bytes(text)), ConfChangeError, text);
  assert.throws(() => decodeConfChangeV2(bytes("0803")), ConfChangeError);
  assert.throws(() => decodeConfChangeV2(bytes("1201ff")), ConfChangeError);
  assert.throws(() => decodeConfChangeV2(bytes("1200".repeat(1025))), ConfChangeError);
});

test("random bytes are decoded or refused, nothing else", () => {
  const prng = new Prng(2);
  for (let round = 0; round < 3000; round += 1) {
    const noise = Uint8Array.from({ length: prng.below(20) }, () => prng.below(256));
    for (const type of [EntryType.confChange, EntryType.confChangeV2]) {
      try {
        confChangeOf({ type, data: noise });
      } catch (error) {
        assert.ok(error instanceof ConfChangeError, `${hex(noise)}: ${error}`);
      }
    }
  }
});
