import type { ErrorCode } from "../base/errors.ts";
import { Code } from "../grpc/status.ts";

const {
  Canceled: canceled,
  Unknown: unknown,
  InvalidArgument: invalidArgument,
  DeadlineExceeded: deadlineExceeded,
  NotFound: notFound,
  PermissionDenied: permissionDenied,
  ResourceExhausted: resourceExhausted,
  FailedPrecondition: failedPrecondition,
  OutOfRange: outOfRange,
  Unimplemented: unimplemented,
  Unavailable: unavailable,
  DataLoss: dataLoss,
  Unauthenticated: unauthenticated,
} = Code;

/**
 * Wire code and etcd's exact text. Clients recognise an error by its text: change a row only to match etcd.
 * Rows with code `unknown` are as etcd sends them: it never maps these errors to a status of their own, and
 * clients depend on the text alone.
 */
export const wireErrors = {
  keyNotProvided: [invalidArgument, "etcdserver: key is not provided"],
  keyNotFound: [invalidArgument, "etcdserver: key not found"],
  valueProvided: [invalidArgument, "etcdserver: value is provided"],
  leaseProvided: [invalidArgument, "etcdserver: lease is provided"],
  tooManyOperations: [invalidArgument, "etcdserver: too many operations in txn request"],
  duplicateKey: [invalidArgument, "etcdserver: duplicate key given in txn request"],
  invalidClientApiVersion: [invalidArgument, "etcdserver: invalid client api version"],
  invalidSortOption: [invalidArgument, "etcdserver: invalid sort option"],
  requestTooLarge: [invalidArgument, "etcdserver: request is too large"],
  rangeStreamSortUnsupported: [unimplemented, "RangeStream does not support custom sort orders"],
  rangeStreamFiltersUnsupported: [unimplemented, "RangeStream does not support revision filters"],
  unknownMethod: [unknown, "etcdserver: unknown method"],

  compacted: [outOfRange, "etcdserver: mvcc: required revision has been compacted"],
  futureRevision: [outOfRange, "etcdserver: mvcc: required revision is a future revision"],
  noSpace: [resourceExhausted, "etcdserver: mvcc: database space exceeded"],
  corrupt: [dataLoss, "etcdserver: corrupt cluster"],
  leaseNotFound: [notFound, "etcdserver: requested lease not found"],
  leaseExists: [failedPrecondition, "etcdserver: lease already exists"],
  leaseTtlTooLarge: [outOfRange, "etcdserver: too large lease TTL"],
  notPrimaryLessor: [unknown, "not a primary lessor"],
  watchCanceled: [canceled, "etcdserver: watch canceled"],

  memberExists: [failedPrecondition, "etcdserver: member ID already exist"],
  peerUrlExists: [failedPrecondition, "etcdserver: Peer URLs already exists"],
  memberNotEnoughStarted: [
    unknown,
    "etcdserver: re-configuration failed due to not enough started members",
  ],
  memberBadUrls: [invalidArgument, "etcdserver: given member URLs are invalid"],
  memberNotFound: [notFound, "etcdserver: member not found"],
  memberNotLearner: [failedPrecondition, "etcdserver: can only promote a learner member"],
  learnerNotReady: [
    failedPrecondition,
    "etcdserver: can only promote a learner member which is in sync with leader",
  ],
  tooManyLearners: [failedPrecondition, "etcdserver: too many learner members in cluster"],
  clusterIdMismatch: [failedPrecondition, "etcdserver: cluster ID mismatch"],

  rootUserNotExist: [failedPrecondition, "etcdserver: root user does not exist"],
  rootRoleNotExist: [failedPrecondition, "etcdserver: root user does not have root role"],
  userExists: [failedPrecondition, "etcdserver: user name already exists"],
  userEmpty: [invalidArgument, "etcdserver: user name is empty"],
  userNotFound: [failedPrecondition, "etcdserver: user name not found"],
  roleExists: [failedPrecondition, "etcdserver: role name already exists"],
  roleNotFound: [failedPrecondition, "etcdserver: role name not found"],
  roleEmpty: [invalidArgument, "etcdserver: role name is empty"],
  authFailed: [invalidArgument, "etcdserver: authentication failed, invalid user ID or password"],
  noPasswordUser: [unknown, "auth: authentication failed, password was given for no password user"],
  permissionNotGiven: [invalidArgument, "etcdserver: permission not given"],
  permissionDenied: [permissionDenied, "etcdserver: permission denied"],
  roleNotGranted: [failedPrecondition, "etcdserver: role is not granted to the user"],
  permissionNotGranted: [failedPrecondition, "etcdserver: permission is not granted to the role"],
  authNotEnabled: [failedPrecondition, "etcdserver: authentication is not enabled"],
  invalidAuthToken: [unauthenticated, "etcdserver: invalid auth token"],
  invalidAuthManagement: [invalidArgument, "etcdserver: invalid auth management"],
  authOldRevision: [invalidArgument, "etcdserver: revision of auth store is old"],

  noLeader: [unavailable, "etcdserver: no leader"],
  notLeader: [failedPrecondition, "etcdserver: not leader"],
  leaderChanged: [unavailable, "etcdserver: leader changed"],
  notCapable: [failedPrecondition, "etcdserver: not capable"],
  notSupportedForLearner: [failedPrecondition, "etcdserver: rpc not supported for learner"],
  badLeaderTransferee: [failedPrecondition, "etcdserver: bad leader transferee"],
  stopped: [unavailable, "etcdserver: server stopped"],
  timeout: [unavailable, "etcdserver: request timed out"],
  timeoutDueToLeaderFail: [
    unavailable,
    "etcdserver: request timed out, possibly due to previous leader failure",
  ],
  timeoutDueToConnectionLost: [
    unavailable,
    "etcdserver: request timed out, possibly due to connection lost",
  ],
  timeoutWaitAppliedIndex: [
    unavailable,
    "etcdserver: request timed out, waiting for the applied index took too long",
  ],
  timeoutLeaderTransfer: [unknown, "etcdserver: request timed out, leader transfer took too long"],
  unhealthy: [unavailable, "etcdserver: unhealthy cluster"],
  tooManyRequests: [unknown, "etcdserver: too many requests"],

  wrongDowngradeVersionFormat: [
    invalidArgument,
    "etcdserver: wrong downgrade target version format",
  ],
  invalidDowngradeTargetVersion: [invalidArgument, "etcdserver: invalid downgrade target version"],
  clusterVersionUnavailable: [
    failedPrecondition,
    "etcdserver: cluster version not found during downgrade",
  ],
  downgradeInProcess: [failedPrecondition, "etcdserver: cluster has a downgrade job in progress"],
  noInflightDowngrade: [failedPrecondition, "etcdserver: no inflight downgrade job"],

  canceled: [canceled, "etcdserver: request canceled"],
  contextCanceled: [canceled, "context canceled"],
  deadlineExceeded: [deadlineExceeded, "etcdserver: context deadline exceeded"],
  contextDeadlineExceeded: [deadlineExceeded, "context deadline exceeded"],

  leaderKeyMissing: [unknown, '"leader" field must be provided'],
  electionNoLeader: [unknown, "election: no leader"],
  electionNotLeader: [unknown, "election: not leader"],
  mutexLocked: [unknown, "mutex: Locked by another session"],
  sessionExpired: [unknown, "mutex: session is expired"],
} as const satisfies Record<ErrorCode, readonly [Code, string]>;
