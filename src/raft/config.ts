import type { Prng } from "../base/prng.ts";
import type { RaftIndex } from "../base/units.ts";
import type { LogStorage } from "./storage.ts";
import { NO_MEMBER } from "./types.ts";

/** What a member is started with. Sizes are in bytes as `entryBytes` counts them. */
export interface RaftOptions {
  /** This member; not 0, and none of the two highest numbers, which raftpb reserves. */
  readonly id: bigint;
  readonly storage: LogStorage;
  /** The state machine has applied up to here; committed entries after it are handed out again. */
  readonly applied: RaftIndex;
  readonly prng: Prng;
  /** Ticks without a leader before an election; each timeout is drawn from [n, 2n). Default 10. */
  readonly electionTicks?: number;
  /** Ticks between heartbeats; fewer than `electionTicks`. Default 1. */
  readonly heartbeatTicks?: number;
  /** Ask before an election whether it can be won, so that a member that was cut off disturbs nobody. Default true. */
  readonly preVote?: boolean;
  /** A leader without a quorum steps down, and members with a leader do not vote. Default true. */
  readonly checkQuorum?: boolean;
  /** Entries in one message. Default 1 MiB. */
  readonly maxMessageBytes?: number;
  /** Messages with entries under way to one follower. Default 512. */
  readonly maxInflightMessages?: number;
  /** Entries under way to one follower; at least `maxMessageBytes`. Default 512 MiB. */
  readonly maxInflightBytes?: number;
  /** Committed entries in one Ready: bounds the time one turn spends applying. Default 1 MiB. */
  readonly maxCommittedBytesPerReady?: number;
  /** Data of proposals that are not committed yet; one is always admitted. Default 512 MiB. */
  readonly maxUncommittedBytes?: number;
  /** Reads that wait for their index. Default 65,536. */
  readonly maxPendingReads?: number;
}

export type RaftConfig = Required<RaftOptions>;

const MIB = 1024 * 1024;
const RESERVED_IDS_FROM = 0xfffffffffffffffen;

/** Fills in the defaults. Throws `RangeError` for options that do not fit. */
export function raftConfig(options: RaftOptions): RaftConfig {
  const config: RaftConfig = {
    electionTicks: 10,
    heartbeatTicks: 1,
    preVote: true,
    checkQuorum: true,
    maxMessageBytes: MIB,
    maxInflightMessages: 512,
    maxInflightBytes: 512 * MIB,
    maxCommittedBytesPerReady: MIB,
    maxUncommittedBytes: 512 * MIB,
    maxPendingReads: 65_536,
    ...options,
  };
  check(config.id > NO_MEMBER && config.id < RESERVED_IDS_FROM, `raft id ${config.id} is reserved`);
  check(Number.isSafeInteger(config.applied) && config.applied >= 0, `applied index ${config.applied}`);
  checkPositive("heartbeatTicks", config.heartbeatTicks);
  checkPositive("electionTicks", config.electionTicks);
  checkPositive("maxMessageBytes", config.maxMessageBytes);
  checkPositive("maxInflightMessages", config.maxInflightMessages);
  checkPositive("maxInflightBytes", config.maxInflightBytes);
  checkPositive("maxCommittedBytesPerReady", config.maxCommittedBytesPerReady);
  checkPositive("maxUncommittedBytes", config.maxUncommittedBytes);
  checkPositive("maxPendingReads", config.maxPendingReads);
  check(
    config.electionTicks > config.heartbeatTicks,
    `electionTicks ${config.electionTicks} must be greater than heartbeatTicks ${config.heartbeatTicks}`,
  );
  check(
    config.maxInflightBytes >= config.maxMessageBytes,
    `maxInflightBytes ${config.maxInflightBytes} must be at least maxMessageBytes ${config.maxMessageBytes}`,
  );
  return config;
}

function checkPositive(name: string, value: number): void {
  check(Number.isSafeInteger(value) && value > 0, `${name} must be a positive whole number, not ${value}`);
}

function check(condition: boolean, message: string): void {
  if (!condition) throw new RangeError(message);
}
