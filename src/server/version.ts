/** The etcd release whose API and behaviour this server has; clients read and compare it. */
export const SERVER_VERSION = "3.7.1";
/** What the cluster agrees on once every member runs this release. */
export const CLUSTER_VERSION = "3.7.0";
/** Schema of the backend. */
export const STORAGE_VERSION = "3.7.0";
/** The oldest cluster this server can join. */
export const MIN_CLUSTER_VERSION = "3.0.0";
