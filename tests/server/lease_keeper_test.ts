import assert from "node:assert/strict";
import { test } from "node:test";
import { EtcdError } from "../../src/base/errors.ts";
import { Pending } from "../../src/base/pending.ts";
import { type Checkpoint, Lessor } from "../../src/lease/lessor.ts";
import { silentLog } from "../../src/ports/log.ts";
import { LeaseKeeper, type LeaseRaft } from "../../src/server/lease_keeper.ts";
import { MemoryLeaseStore } from "../harness/model_lessor.ts";
import { ManualClock } from "../http2/support.ts";

/** A log of which the test says when it moves. */
class ManualRaft implements LeaseRaft {
  isLeader = true;
  canReadNow = true;
  readonly barriers: Pending<void>[] = [];
  readonly revokes: { readonly id: bigint; readonly reply: Pending<unknown> }[] = [];
  readonly checkpoints: { readonly leases: readonly Checkpoint[]; readonly reply: Pending<unknown> }[] = [];
  refusal: EtcdError | undefined;

  readBarrier(): Pending<void> {
    const barrier = new Pending<void>();
    this.barriers.push(barrier);
    return barrier;
  }

  proposeRevoke(id: bigint): Pending<unknown> {
    if (this.refusal !== undefined) throw this.refusal;
    const reply = new Pending<unknown>();
    this.revokes.push({ id, reply });
    return reply;
  }

  proposeCheckpoints(leases: readonly Checkpoint[]): Pending<unknown> {
    const reply = new Pending<unknown>();
    this.checkpoints.push({ leases, reply });
    return reply;
  }
}

class Fixture {
  readonly clock = new ManualClock();
  readonly raft = new ManualRaft();
  readonly lessor: Lessor;
  readonly keeper: LeaseKeeper;

  constructor(checkpointIntervalMs?: number) {
    this.lessor = new Lessor({ store: new MemoryLeaseStore(), ttlMinSeconds: 2, checkpointIntervalMs });
    this.keeper = new LeaseKeeper({
      lessor: this.lessor,
      raft: this.raft,
      clock: this.clock,
      log: silentLog,
      electionMs: 1_000,
    });
    this.keeper.start();
    this.keeper.onLeading();
  }

  grant(id: bigint, ttl: bigint): void {
    this.lessor.grant(id, ttl, this.clock.monotonicMs());
  }

  /** Applies the oldest `count` revokes that were proposed. */
  applyRevokes(count: number): void {
    for (const { id, reply } of this.raft.revokes.splice(0, count)) {
      try {
        this.lessor.revoke(id, () => {});
        this.keeper.onRevoked(id);
        reply.resolve(undefined);
      } catch (error) {
        reply.reject(error);
      }
    }
    this.clock.turn();
  }
}

/** How a renewal ended: its TTL, the code of its error, or "waits". */
function outcomeOf(renew: () => number | Pending<number>): { value: number | string } {
  const outcome: { value: number | string } = { value: "waits" };
  try {
    const renewed = renew();
    if (typeof renewed === "number") outcome.value = renewed;
    else {
      renewed.observe({
        onValue: (ttl) => outcome.value = ttl,
        onError: (error) => outcome.value = (error as EtcdError).code,
      });
    }
  } catch (error) {
    outcome.value = (error as EtcdError).code;
  }
  return outcome;
}

test("renew() answers at once on a leader without rivals: the TTL, or 0 for a lease that is not there", () => {
  const fixture = new Fixture();
  const { keeper, raft, clock } = fixture;
  fixture.grant(1n, 10n);
  clock.advance(9_000);
  assert.equal(outcomeOf(() => keeper.renew(1n)).value, 10);
  assert.equal(outcomeOf(() => keeper.renew(2n)).value, 0);
  clock.advance(9_900);
  assert.equal(raft.revokes.length, 0);
  assert.equal(raft.barriers.length, 0);
  keeper.stop();
});

test("renew() asks the other members first when there are any", () => {
  const fixture = new Fixture();
  const { keeper, raft, lessor, clock } = fixture;
  fixture.grant(1n, 10n);
  raft.canReadNow = false;
  const kept = outcomeOf(() => keeper.renew(1n));
  const refused = outcomeOf(() => keeper.renew(1n));
  assert.equal(kept.value, "waits");
  clock.advance(100);
  raft.barriers.shift()!.resolve();
  assert.equal(kept.value, 10);
  assert.equal(lessor.get(1n)!.expiryMs, clock.monotonicMs() + 10_000);
  raft.barriers.shift()!.reject(new EtcdError("timeout"));
  assert.equal(refused.value, "notPrimaryLessor");
  raft.isLeader = false;
  assert.equal(outcomeOf(() => keeper.renew(1n)).value, "notPrimaryLessor");
  keeper.stop();
});

test("renew() of a member that lost the lead while it asked changes nothing", () => {
  const fixture = new Fixture();
  const { keeper, raft, lessor } = fixture;
  fixture.grant(1n, 10n);
  raft.canReadNow = false;
  const renewal = outcomeOf(() => keeper.renew(1n));
  raft.isLeader = false;
  keeper.onFollowing();
  raft.barriers.shift()!.resolve();
  assert.equal(renewal.value, "notPrimaryLessor");
  assert.equal(lessor.get(1n)!.expiryMs, Infinity);
  keeper.stop();
});

test("renew() after the expiry waits for the revoke and gives 0", () => {
  const fixture = new Fixture();
  const { keeper, clock, raft, lessor } = fixture;
  fixture.grant(1n, 2n);
  clock.advance(2_000);
  const late = outcomeOf(() => keeper.renew(1n));
  assert.equal(late.value, "waits");
  clock.advance(500);
  assert.deepEqual(raft.revokes.map(({ id }) => id), [1n]);
  assert.equal(late.value, "waits");
  fixture.applyRevokes(1);
  assert.equal(late.value, 0);
  assert.equal(lessor.expired, 1);
  keeper.stop();
});

test("renew() after the expiry fails when this member leads no more, or stops", () => {
  for (const end of ["onFollowing", "stop"] as const) {
    const fixture = new Fixture();
    fixture.grant(1n, 2n);
    fixture.clock.advance(2_000);
    const late = outcomeOf(() => fixture.keeper.renew(1n));
    fixture.keeper[end]();
    assert.equal(late.value, end === "stop" ? "stopped" : "notPrimaryLessor");
    fixture.keeper.stop();
  }
});

test("renew() of a lease with a checkpoint takes that back in the log first", () => {
  const fixture = new Fixture();
  const { keeper, raft, lessor, clock } = fixture;
  fixture.grant(1n, 1_000n);
  lessor.checkpoint(1n, 40n, 0);
  const renewal = outcomeOf(() => keeper.renew(1n));
  assert.equal(renewal.value, "waits");
  const [{ leases, reply }] = raft.checkpoints as [ManualRaft["checkpoints"][number]];
  assert.deepEqual(leases, [{ id: 1n, remainingSeconds: 0 }]);
  lessor.checkpoint(1n, 0n, clock.monotonicMs());
  reply.resolve(undefined);
  assert.equal(renewal.value, 1_000);
  keeper.stop();
});

test("thousands that expire at once are revoked 16 at a time and 500 in each sweep", () => {
  const fixture = new Fixture();
  const { raft, clock, lessor, keeper } = fixture;
  for (let id = 1n; id <= 1_200n; id += 1n) fixture.grant(id, 2n);
  clock.advance(2_000);
  assert.equal(raft.revokes.length, 16);
  clock.advance(400);
  assert.equal(raft.revokes.length, 16);
  const applyAll = (): number => {
    const before = lessor.size;
    while (raft.revokes.length > 0) {
      assert.ok(raft.revokes.length <= 16);
      fixture.applyRevokes(raft.revokes.length);
    }
    return before - lessor.size;
  };
  assert.equal(applyAll(), 500);
  assert.equal(applyAll(), 0);
  clock.advance(500);
  assert.equal(applyAll(), 500);
  clock.advance(500);
  assert.equal(applyAll(), 200);
  assert.equal(lessor.expired, 1_200);
  clock.advance(10_000);
  assert.equal(raft.revokes.length, 0);
  keeper.stop();
});

test("a revoke that fails is tried again after 3 s, one that is under way is not proposed twice", () => {
  const fixture = new Fixture();
  const { raft, clock, keeper, lessor } = fixture;
  fixture.grant(1n, 2n);
  fixture.grant(2n, 2n);
  clock.advance(2_000);
  assert.equal(raft.revokes.length, 2);
  const [first, second] = raft.revokes.splice(0, 2) as [
    ManualRaft["revokes"][number],
    ManualRaft["revokes"][number],
  ];
  first.reply.reject(new EtcdError("timeout"));
  clock.advance(2_500);
  assert.equal(raft.revokes.length, 0);
  clock.advance(500);
  assert.deepEqual(raft.revokes.map(({ id }) => id), [first.id]);
  // A client was faster, and has granted a new lease of that id: it is not ended with the old one.
  lessor.revoke(second.id, () => {});
  fixture.grant(second.id, 100n);
  second.reply.reject(new EtcdError("leaseNotFound"));
  clock.advance(50_000);
  assert.ok(raft.revokes.every(({ id }) => id === first.id));
  keeper.stop();
});

test("a lease that a client ended while it was in the queue is left alone, and a new one of its id too", () => {
  const fixture = new Fixture();
  const { raft, clock, keeper, lessor } = fixture;
  for (let id = 1n; id <= 20n; id += 1n) fixture.grant(id, 2n);
  clock.advance(2_000);
  const queued = lessor.list().map(({ id }) => id).filter((id) =>
    !raft.revokes.some((revoke) => revoke.id === id)
  );
  assert.equal(queued.length, 4);
  for (const id of queued) lessor.revoke(id, () => {});
  fixture.grant(queued[0]!, 2n);
  clock.advance(2_000);
  fixture.applyRevokes(16);
  assert.deepEqual(raft.revokes.map(({ id }) => id), []);
  clock.advance(500);
  assert.deepEqual(raft.revokes.map(({ id }) => id), [queued[0]]);
  keeper.stop();
});

test("a revoke that cannot be proposed is tried again after 3 s", () => {
  const fixture = new Fixture();
  const { raft, clock, keeper } = fixture;
  fixture.grant(1n, 2n);
  raft.refusal = new EtcdError("tooManyRequests");
  clock.advance(2_000);
  raft.refusal = undefined;
  clock.advance(2_500);
  assert.equal(raft.revokes.length, 0);
  clock.advance(500);
  assert.equal(raft.revokes.length, 1);
  keeper.stop();
});

test("a member that was paused and leads no more revokes nothing", () => {
  const fixture = new Fixture();
  const { raft, clock, keeper } = fixture;
  fixture.grant(1n, 2n);
  raft.canReadNow = false;
  clock.advance(2_000);
  assert.equal(raft.revokes.length, 0);
  assert.equal(raft.barriers.length, 1);
  raft.barriers.shift()!.reject(new EtcdError("leaderChanged"));
  assert.equal(raft.revokes.length, 0);
  // It is tried again, and this time the lead is lost between the question and the answer.
  clock.advance(3_000);
  raft.isLeader = false;
  keeper.onFollowing();
  raft.barriers.shift()!.resolve();
  assert.equal(raft.revokes.length, 0);
  clock.advance(60_000);
  assert.equal(raft.barriers.length, 0);
  keeper.stop();
});

test("leases that an election gives new time to are not revoked for their old one", () => {
  const fixture = new Fixture();
  const { raft, clock, keeper } = fixture;
  for (let id = 1n; id <= 40n; id += 1n) fixture.grant(id, 2n);
  clock.advance(2_000);
  assert.equal(raft.revokes.length, 16);
  keeper.onFollowing();
  keeper.onLeading();
  fixture.applyRevokes(16);
  assert.equal(raft.revokes.length, 0);
  clock.advance(2_500);
  assert.equal(raft.revokes.length, 0);
  clock.advance(500);
  assert.equal(raft.revokes.length, 16);
  keeper.stop();
});

test("checkpoints go into the log at the sweep, one batch at a time", () => {
  const fixture = new Fixture(300_000);
  const { raft, clock, keeper } = fixture;
  for (let id = 1n; id <= 600n; id += 1n) fixture.grant(id, 10_000n);
  clock.advance(300_000);
  assert.deepEqual(raft.checkpoints.map(({ leases }) => leases.length), [500]);
  clock.advance(5_000);
  assert.equal(raft.checkpoints.length, 1);
  raft.checkpoints[0]!.reply.resolve(undefined);
  clock.advance(500);
  assert.equal(raft.checkpoints[1]!.leases.length, 100);
  assert.equal(raft.checkpoints[1]!.leases[0]!.remainingSeconds, 9_695);
  keeper.stop();
});

test("stop() leaves no timer", () => {
  const fixture = new Fixture();
  fixture.keeper.stop();
  assert.equal(fixture.clock.timers, 0);
});
