/**
 * Everything that can go wrong on behalf of a client, by what it means. The code decides; the wire code and
 * etcd's exact text belong to `src/services/error_table.ts`.
 */
export type ErrorCode =
  // Requests that cannot be right.
  | "keyNotProvided"
  | "keyNotFound"
  | "valueProvided"
  | "leaseProvided"
  | "tooManyOperations"
  | "duplicateKey"
  | "invalidClientApiVersion"
  | "invalidSortOption"
  | "requestTooLarge"
  | "rangeStreamSortUnsupported"
  | "rangeStreamFiltersUnsupported"
  | "unknownMethod"
  // The store and its leases.
  | "compacted"
  | "futureRevision"
  | "noSpace"
  | "corrupt"
  | "leaseNotFound"
  | "leaseExists"
  | "leaseTtlTooLarge"
  | "notPrimaryLessor"
  | "watchCanceled"
  // Membership.
  | "memberExists"
  | "peerUrlExists"
  | "memberNotEnoughStarted"
  | "memberBadUrls"
  | "memberNotFound"
  | "memberNotLearner"
  | "learnerNotReady"
  | "tooManyLearners"
  | "clusterIdMismatch"
  // Users, roles and tokens.
  | "rootUserNotExist"
  | "rootRoleNotExist"
  | "userExists"
  | "userEmpty"
  | "userNotFound"
  | "roleExists"
  | "roleNotFound"
  | "roleEmpty"
  | "authFailed"
  | "noPasswordUser"
  | "permissionNotGiven"
  | "permissionDenied"
  | "roleNotGranted"
  | "permissionNotGranted"
  | "authNotEnabled"
  | "invalidAuthToken"
  | "invalidAuthManagement"
  | "authOldRevision"
  // The cluster's state.
  | "noLeader"
  | "notLeader"
  | "leaderChanged"
  | "notCapable"
  | "notSupportedForLearner"
  | "badLeaderTransferee"
  | "stopped"
  | "timeout"
  | "timeoutDueToLeaderFail"
  | "timeoutDueToConnectionLost"
  | "timeoutWaitAppliedIndex"
  | "timeoutLeaderTransfer"
  | "unhealthy"
  | "tooManyRequests"
  // Downgrades.
  | "wrongDowngradeVersionFormat"
  | "invalidDowngradeTargetVersion"
  | "clusterVersionUnavailable"
  | "downgradeInProcess"
  | "noInflightDowngrade"
  // The caller's own end of the call.
  | "canceled"
  | "contextCanceled"
  | "deadlineExceeded"
  | "contextDeadlineExceeded"
  // The lock and election services.
  | "leaderKeyMissing"
  | "electionNoLeader"
  | "electionNotLeader"
  | "mutexLocked"
  | "sessionExpired";

/** A failure of a request that its client is told about. `message` is for logs and tests, never for the wire. */
export class EtcdError extends Error {
  override readonly name = "EtcdError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string = code, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
