/** etcd's feature gates of this release: stage and default. */
export const featureGates: ReadonlyMap<string, FeatureGate> = new Map(
  ([
    ["AllAlpha", "ALPHA", false],
    ["AllBeta", "BETA", false],
    ["CompactHashCheck", "ALPHA", false],
    ["FastLeaseKeepAlive", "BETA", true],
    ["InitialCorruptCheck", "ALPHA", false],
    ["LeaseCheckpoint", "ALPHA", false],
    ["LeaseCheckpointPersist", "ALPHA", false],
    ["PriorityRequest", "ALPHA", false],
    ["SetMemberLocalAddr", "ALPHA", false],
    ["StopGRPCServiceOnDefrag", "ALPHA", false],
    ["TxnModeWriteWithSharedBuffer", "BETA", true],
  ] as const).map(([name, stage, enabled]) => [name, { stage, default: enabled }]),
);

export interface FeatureGate {
  readonly stage: "ALPHA" | "BETA";
  readonly default: boolean;
}

/** Gates that were set, by name. */
export type GateSettings = ReadonlyMap<string, boolean>;

const TRUE = ["1", "t", "T", "TRUE", "true", "True"];
const FALSE = ["0", "f", "F", "FALSE", "false", "False"];

/** Reads a boolean as Go's `strconv.ParseBool` does; undefined when it is none. */
export function parseGoBool(text: string): boolean | undefined {
  if (TRUE.includes(text)) return true;
  return FALSE.includes(text) ? false : undefined;
}

/**
 * Reads "Gate=true,Other=false" on top of gates that were set before. `AllAlpha` and `AllBeta` set the gates
 * of their stage that are not set by name. Throws `SyntaxError` with etcd's text.
 */
export function parseFeatureGates(text: string, before: GateSettings = new Map()): GateSettings {
  const named = new Map<string, boolean>();
  for (const pair of text.split(",")) {
    if (pair === "") continue;
    const equals = pair.indexOf("=");
    const name = (equals < 0 ? pair : pair.slice(0, equals)).trim();
    if (equals < 0) throw new SyntaxError(`missing bool value for ${name}`);
    const value = pair.slice(equals + 1).trim();
    const enabled = parseGoBool(value);
    if (enabled === undefined) {
      const reason = `strconv.ParseBool: parsing ${JSON.stringify(value)}: invalid syntax`;
      throw new SyntaxError(`invalid value of ${name}=${value}, err: ${reason}`);
    }
    named.set(name, enabled);
  }
  const settings = new Map(before);
  for (const [name, enabled] of named) {
    if (!featureGates.has(name)) throw new SyntaxError(`unrecognized feature gate: ${name}`);
    settings.set(name, enabled);
  }
  for (const [all, stage] of [["AllAlpha", "ALPHA"], ["AllBeta", "BETA"]] as const) {
    const enabled = named.get(all);
    if (enabled === undefined) continue;
    for (const [name, gate] of featureGates) {
      if (gate.stage === stage && !settings.has(name)) settings.set(name, enabled);
    }
  }
  return settings;
}

export function formatFeatureGates(settings: GateSettings): string {
  return [...settings].map(([name, enabled]) => `${name}=${enabled}`).sort().join(",");
}

/** A gate as it is set. */
export interface FeatureState {
  readonly name: string;
  readonly stage: FeatureGate["stage"];
  readonly enabled: boolean;
}

/** All gates. */
export function gateStates(settings: GateSettings): FeatureState[] {
  return [...featureGates].map(([name, { stage }]) => ({
    name,
    stage,
    enabled: isGateEnabled(settings, name),
  }));
}

export function isGateEnabled(settings: GateSettings, name: string): boolean {
  return settings.get(name) ?? featureGates.get(name)?.default ?? false;
}
