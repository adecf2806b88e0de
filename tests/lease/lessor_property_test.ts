import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { textOf, utf8 } from "../../src/base/bytes.ts";
import { EtcdError } from "../../src/base/errors.ts";
import { Prng } from "../../src/base/prng.ts";
import { Lessor } from "../../src/lease/lessor.ts";
import { MemoryLeaseStore, ModelLessor } from "../harness/model_lessor.ts";

const STEPS = 1_500;
const TTL_MIN = 2;
const EXTEND_MS = 1_000;
const RETRY_MS = 3_000;
const seeds = process.env["SEED"] === undefined
  ? Array.from({ length: 40 }, (_, i) => i + 1)
  : [Number(process.env["SEED"])];

test("Lessor does what its model does, over grants, expiries, elections and restarts", () => {
  for (const seed of seeds) runSeed(seed);
});

function runSeed(seed: number): void {
  const prng = new Prng(seed);
  const store = new MemoryLeaseStore();
  const options = { store, ttlMinSeconds: TTL_MIN };
  const model = new ModelLessor(TTL_MIN);
  let lessor = new Lessor(options);
  let nowMs = 0;
  const anyId = (): bigint => BigInt(prng.below(12));
  const anyKey = (): string => `k${prng.below(20)}`;
  const taken = new Map<bigint, number>();

  const steps: (() => string)[] = [
    () => {
      const [id, ttl] = [anyId(), prng.below(30) - 2];
      const outcome = codeOr(() => `ttl ${lessor.grant(id, BigInt(ttl), nowMs).ttlSeconds}`);
      assert.equal(outcome, model.grant(id, ttl, nowMs));
      return `grant ${id} ${ttl}: ${outcome}`;
    },
    () => {
      const id = anyId();
      let keys = "";
      const outcome = codeOr(() => {
        lessor.revoke(id, (deleted) => keys = deleted.map(textOf).join(" "));
        return keys;
      });
      assert.equal(outcome, model.revoke(id));
      taken.delete(id);
      return `revoke ${id}: ${outcome}`;
    },
    () => {
      // What a put does with the lease of its key.
      const [key, id] = [anyKey(), prng.chance(0.3) ? 0n : anyId()];
      if (id !== 0n && !lessor.exists(id)) return "no lease";
      const before = lessor.leaseOf(utf8(key));
      if (before !== id) {
        if (before !== 0n) lessor.detach(before, utf8(key));
        if (id !== 0n) lessor.attach(id, utf8(key));
      }
      model.put(key, id);
      return `put ${key} ${id}`;
    },
    () => {
      const lease = lessor.get(anyId());
      if (lease === undefined || !lessor.isPrimary || lease.hasExpired(nowMs)) return "no renewal";
      lessor.renew(lease, nowMs);
      model.find(lease.id)!.expiryMs = nowMs + lease.ttlSeconds * 1_000;
      return `renew ${lease.id}`;
    },
    () => {
      const [id, remaining] = [anyId(), prng.below(10)];
      lessor.checkpoint(id, BigInt(remaining), nowMs);
      model.checkpoint(id, remaining);
      return `checkpoint ${id} ${remaining}`;
    },
    () => {
      nowMs += prng.below(8_000);
      return `now ${nowMs}`;
    },
    () => {
      const max = 1 + prng.below(4);
      const expired = lessor.takeExpired(nowMs, max, RETRY_MS).map(({ id }) => id);
      const wanted = model.expired(nowMs).filter((id) => nowMs - (taken.get(id) ?? -Infinity) >= RETRY_MS);
      assert.ok(expired.every((id) => wanted.includes(id)), `${expired} are not all of ${wanted}`);
      assert.equal(expired.length, Math.min(max, wanted.length));
      for (const id of expired) taken.set(id, nowMs);
      return `expired ${expired}`;
    },
    () => {
      if (prng.chance(0.6)) return "same leader";
      taken.clear();
      if (lessor.isPrimary && prng.chance(0.5)) {
        lessor.demote();
        model.demote();
        return "demote";
      }
      lessor.promote(EXTEND_MS, nowMs);
      model.promote(EXTEND_MS, nowMs);
      return "promote";
    },
    () => {
      if (prng.chance(0.8)) return "no restart";
      taken.clear();
      lessor = new Lessor(options);
      lessor.restore();
      for (const { id, keys } of model.leases) for (const key of keys) lessor.attach(id, utf8(key));
      model.demote();
      return "restart";
    },
  ];

  const trace: string[] = [];
  try {
    for (let step = 0; step < STEPS; step += 1) {
      trace.push(steps[prng.below(steps.length)]!());
      compare(lessor, model, store);
    }
  } catch (error) {
    throw new Error(`SEED=${seed}; after\n${trace.slice(-20).join("\n")}`, { cause: error });
  }
}

function compare(lessor: Lessor, model: ModelLessor, store: MemoryLeaseStore): void {
  assert.equal(lessor.size, model.leases.length);
  assert.equal(lessor.isPrimary, model.leads);
  assert.equal(store.rows.size, model.leases.length);
  for (const { id, ttl, remaining, expiryMs, keys } of model.leases) {
    const lease = lessor.get(id)!;
    assert.equal(lease.ttlSeconds, ttl);
    assert.equal(lease.expiryMs, expiryMs ?? Infinity);
    assert.deepEqual(lessor.keysOf(lease).map(textOf), [...keys].sort());
    assert.deepEqual(store.rows.get(id), { id, ttl: BigInt(ttl), remainingTtl: BigInt(remaining) });
    for (const key of keys) assert.equal(lessor.leaseOf(utf8(key)), id);
  }
  const expiries = lessor.list().map(({ expiryMs }) => expiryMs);
  assert.deepEqual(expiries, [...expiries].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)));
}

function codeOr(run: () => string): string {
  try {
    return run();
  } catch (error) {
    if (error instanceof EtcdError) return error.code;
    throw error;
  }
}
