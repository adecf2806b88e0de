import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AlarmMemberSchema, type AlarmType } from "../../gen/etcdserverpb/maintenance_pb.ts";
import { EMPTY_BYTES } from "../../base/bytes.ts";
import type { Backend } from "../../mvcc/backend.ts";

/** A row of bucket "alarm": the key is an `etcdserverpb.AlarmMember`, the value is empty. */
export interface AlarmRow {
  readonly memberId: bigint;
  readonly type: AlarmType;
}

export function putAlarm(backend: Backend, alarm: AlarmRow): void {
  backend.put("alarm", alarmKey(alarm), EMPTY_BYTES);
}

export function deleteAlarm(backend: Backend, alarm: AlarmRow): void {
  backend.delete("alarm", alarmKey(alarm));
}

export function listAlarms(backend: Backend): AlarmRow[] {
  return backend.list("alarm").map(({ key }) => {
    const alarm = fromBinary(AlarmMemberSchema, key);
    return { memberId: alarm.memberID, type: alarm.alarm };
  });
}

function alarmKey(alarm: AlarmRow): Uint8Array {
  const { memberId, type } = alarm;
  return toBinary(AlarmMemberSchema, create(AlarmMemberSchema, { memberID: memberId, alarm: type }));
}
