import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";

export type FieldKind =
  | "bytes"
  | "string"
  | "bool"
  | "int32"
  | "uint32"
  | "int64"
  | "uint64"
  | "enum"
  | "message";

/** What the JSON reader and writer ask of a field, worked out once. */
export interface FieldPlan {
  readonly number: number;
  readonly kind: FieldKind;
  /** Tag of one value, with the wire type of `kind`; repeated fields are written value by value. */
  readonly tag: number;
  readonly repeated: boolean;
  /** A member of a oneof or a message: present even when it is zero or empty. */
  readonly explicit: boolean;
  /** Bits that no two fields of one message may set: its own and that of its oneof. */
  readonly ownBit: number;
  readonly oneofBit: number;
  /** Full name of the oneof; empty without one. */
  readonly oneofName: string;
  /** lowerCamelCase, as errors name it. */
  readonly jsonName: string;
  /** `"snake_case":` as it is printed. */
  readonly label: Uint8Array;
  /** With `kind` "message". */
  readonly message: MessagePlan | undefined;
  /** With `kind` "enum". */
  readonly enumNumbers: ReadonlyMap<string, number>;
  readonly enumNames: ReadonlyMap<number, Uint8Array>;
}

/** A name by which JSON may call a field. */
export interface FieldName {
  readonly text: string;
  readonly bytes: Uint8Array;
  readonly field: FieldPlan;
}

export interface MessagePlan {
  readonly typeName: string;
  /** Indexed by field number. */
  readonly fields: readonly (FieldPlan | undefined)[];
  /** Both names of every field, by their length. */
  readonly namesOfLength: readonly (readonly FieldName[])[];
}

const kindsOfScalars: Partial<Record<ScalarType, FieldKind>> = {
  [ScalarType.BYTES]: "bytes",
  [ScalarType.STRING]: "string",
  [ScalarType.BOOL]: "bool",
  [ScalarType.INT32]: "int32",
  [ScalarType.UINT32]: "uint32",
  [ScalarType.INT64]: "int64",
  [ScalarType.UINT64]: "uint64",
};

const VARINT = 0;
const LENGTH_DELIMITED = 2;
const SEEN_BITS_MAX = 31;

const plans = new Map<string, MessagePlan>();
const encoder = new TextEncoder();

/** The plan of a message type. Throws for a type with fields of a kind that etcd's API does not have. */
export function messagePlan(desc: DescMessage): MessagePlan {
  const known = plans.get(desc.typeName);
  if (known !== undefined) return known;
  const fields: (FieldPlan | undefined)[] = [];
  const namesOfLength: FieldName[][] = [];
  const plan: MessagePlan = { typeName: desc.typeName, fields, namesOfLength };
  plans.set(desc.typeName, plan); // Before its fields: a transaction holds transactions.
  if (desc.fields.length + desc.oneofs.length > SEEN_BITS_MAX) {
    throw new Error(`${desc.typeName} has too many fields`);
  }
  desc.fields.forEach((field, index) => {
    const planned = fieldPlan(field, index);
    fields[field.number] = planned;
    for (const text of new Set([field.jsonName, field.name])) {
      const bytes = encoder.encode(text);
      (namesOfLength[bytes.length] ??= []).push({ text, bytes, field: planned });
    }
  });
  return plan;
}

function fieldPlan(field: DescField, index: number): FieldPlan {
  const kind = kindOf(field);
  if (kind === undefined || field.fieldKind === "map") throw new Error(`No JSON for the field ${field}`);
  const isDelimited = kind === "bytes" || kind === "string" || kind === "message";
  const values = field.enum?.values ?? [];
  return {
    number: field.number,
    kind,
    tag: field.number * 8 + (isDelimited ? LENGTH_DELIMITED : VARINT),
    repeated: field.fieldKind === "list",
    explicit: kind === "message" || field.oneof !== undefined,
    ownBit: 1 << index,
    oneofBit: field.oneof === undefined
      ? 0
      : 1 << (field.parent.fields.length + field.parent.oneofs.indexOf(field.oneof)),
    oneofName: field.oneof === undefined ? "" : `${field.parent.typeName}.${field.oneof.name}`,
    jsonName: field.jsonName,
    label: encoder.encode(`"${field.name}":`),
    message: field.message && messagePlan(field.message),
    enumNumbers: new Map(values.map(({ name, number }) => [name, number])),
    enumNames: new Map(values.map(({ name, number }) => [number, encoder.encode(`"${name}"`)])),
  };
}

function kindOf(field: DescField): FieldKind | undefined {
  if (field.message !== undefined) return "message";
  if (field.enum !== undefined) return "enum";
  return field.scalar === undefined ? undefined : kindsOfScalars[field.scalar];
}
