/** What applying a request comes to; the services add the header. Key-values are encoded KeyValues. */
export interface PutResult {
  readonly revision: number;
  readonly prevKv: Uint8Array | undefined;
}

export interface DeleteRangeResult {
  readonly revision: number;
  readonly deleted: number;
  readonly prevKvs: readonly Uint8Array[];
}

export interface CompactionResult {
  readonly revision: number;
}
