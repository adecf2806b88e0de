import { AlarmType } from "../gen/etcdserverpb/maintenance_pb.ts";

export interface Alarm {
  readonly memberId: bigint;
  readonly type: AlarmType;
}

/** The alarms that are raised, of every member. Storing them is the caller's. */
export class Alarms {
  readonly #raised = new Map<string, Alarm>();
  /** Kept as flags since every write asks; `raised` for either. */
  raised = false;
  noSpace = false;
  corrupt = false;

  /** False when it had been raised before. */
  raise(alarm: Alarm): boolean {
    const key = alarmKey(alarm);
    if (this.#raised.has(key)) return false;
    this.#raised.set(key, alarm);
    this.#update();
    return true;
  }

  /** False when it had not been raised. */
  clear(alarm: Alarm): boolean {
    if (!this.#raised.delete(alarmKey(alarm))) return false;
    this.#update();
    return true;
  }

  /** Alarms of a type, or all with NONE. */
  list(type: AlarmType): Alarm[] {
    const all = [...this.#raised.values()];
    return type === AlarmType.NONE ? all : all.filter((alarm) => alarm.type === type);
  }

  #update(): void {
    this.noSpace = this.list(AlarmType.NOSPACE).length > 0;
    this.corrupt = this.list(AlarmType.CORRUPT).length > 0;
    this.raised = this.noSpace || this.corrupt;
  }
}

function alarmKey(alarm: Alarm): string {
  return `${alarm.type}/${alarm.memberId}`;
}
