// Package interop asks a running server with the client of the etcd in Go. ETCD_ENDPOINT says where it is.
package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

const callTimeout = 20 * time.Second

func connect(t *testing.T, change ...func(*clientv3.Config)) (*clientv3.Client, context.Context) {
	t.Helper()
	config := clientv3.Config{Endpoints: []string{os.Getenv("ETCD_ENDPOINT")}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()}
	for _, each := range change {
		each(&config)
	}
	client, err := clientv3.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	t.Cleanup(func() {
		cancel()
		client.Close()
	})
	return client, ctx
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, and not %v", err, want)
	}
}

func keysOf(response *clientv3.GetResponse) string {
	keys := make([]string, len(response.Kvs))
	for i, kv := range response.Kvs {
		keys[i] = string(kv.Key)
	}
	return strings.Join(keys, " ")
}

func fill(t *testing.T, client *clientv3.Client, ctx context.Context, prefix string, count int) {
	t.Helper()
	for at := 0; at < count; at += 100 {
		var ops []clientv3.Op
		for i := at; i < min(at+100, count); i++ {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("%s%06d", prefix, i), fmt.Sprintf("value %d", i)))
		}
		must[*clientv3.TxnResponse](t)(client.Txn(ctx).Then(ops...).Commit())
	}
}

func TestPutGetDelete(t *testing.T) {
	client, ctx := connect(t)
	for _, key := range []string{"kv/b", "kv/a", "kv/c"} {
		must[*clientv3.PutResponse](t)(client.Put(ctx, key, key+"!"))
	}
	put := must[*clientv3.PutResponse](t)(client.Put(ctx, "kv/a", "z", clientv3.WithPrevKV()))
	if string(put.PrevKv.Value) != "kv/a!" || put.PrevKv.Version != 1 {
		t.Errorf("previous value %v", put.PrevKv)
	}
	for _, row := range []struct {
		want    string
		key     string
		options []clientv3.OpOption
	}{
		{"kv/a", "kv/a", nil},
		{"", "kv/none", nil},
		{"kv/a kv/b kv/c", "kv/", []clientv3.OpOption{clientv3.WithPrefix()}},
		{"kv/c kv/b kv/a", "kv/", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)}},
		{"kv/a kv/c kv/b", "kv/", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend)}},
		{"kv/b kv/c kv/a", "kv/", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByValue, clientv3.SortAscend)}},
		{"kv/a", "kv/", clientv3.WithLastRev()},
		{"kv/b", "kv/", clientv3.WithFirstCreate()},
		{"kv/b kv/c", "kv/b", []clientv3.OpOption{clientv3.WithRange("kv/d")}},
		{"kv/b", "kv/b", []clientv3.OpOption{clientv3.WithFromKey(), clientv3.WithLimit(1)}},
		{"kv/a", "kv/", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithMinModRev(put.Header.Revision)}},
		{"kv/a kv/b kv/c", "kv/", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithKeysOnly()}},
		{"kv/a kv/b kv/c", "kv/", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithSerializable()}},
	} {
		if got := keysOf(must[*clientv3.GetResponse](t)(client.Get(ctx, row.key, row.options...))); got != row.want {
			t.Errorf("get %s %v: %q, and not %q", row.key, row.options, got, row.want)
		}
	}
	counted := must[*clientv3.GetResponse](t)(client.Get(ctx, "kv/", clientv3.WithPrefix(), clientv3.WithCountOnly()))
	if counted.Count != 3 || len(counted.Kvs) != 0 {
		t.Errorf("counted %v", counted)
	}
	before := must[*clientv3.GetResponse](t)(client.Get(ctx, "kv/a", clientv3.WithRev(put.Header.Revision-1)))
	if string(before.Kvs[0].Value) != "kv/a!" {
		t.Errorf("the value before: %s", before.Kvs[0].Value)
	}
	deleted := must[*clientv3.DeleteResponse](t)(client.Delete(ctx, "kv/", clientv3.WithPrefix(), clientv3.WithPrevKV()))
	if deleted.Deleted != 3 || len(deleted.PrevKvs) != 3 || deleted.Header.Revision != put.Header.Revision+1 {
		t.Errorf("deleted %v", deleted)
	}
}

func TestErrors(t *testing.T) {
	client, ctx := connect(t)
	_, err := client.Put(ctx, "", "x")
	wantError(t, err, rpctypes.ErrEmptyKey)
	_, err = client.Put(ctx, "errors/none", "", clientv3.WithIgnoreValue())
	wantError(t, err, rpctypes.ErrKeyNotFound)
	_, err = client.Put(ctx, "errors/a", "", clientv3.WithLease(4711))
	wantError(t, err, rpctypes.ErrLeaseNotFound)
	put := must[*clientv3.PutResponse](t)(client.Put(ctx, "errors/a", "1"))
	must[*clientv3.PutResponse](t)(client.Put(ctx, "errors/a", "2"))
	_, err = client.Get(ctx, "errors/a", clientv3.WithRev(put.Header.Revision+100))
	wantError(t, err, rpctypes.ErrFutureRev)
	_, err = client.Compact(ctx, put.Header.Revision+100)
	wantError(t, err, rpctypes.ErrFutureRev)
	must[*clientv3.CompactResponse](t)(client.Compact(ctx, put.Header.Revision+1, clientv3.WithCompactPhysical()))
	_, err = client.Get(ctx, "errors/a", clientv3.WithRev(put.Header.Revision))
	wantError(t, err, rpctypes.ErrCompacted)
	_, err = client.Compact(ctx, put.Header.Revision+1)
	wantError(t, err, rpctypes.ErrCompacted)
	for _, wanted := range []int64{0, 1} {
		if got := must[*clientv3.GetResponse](t)(client.Get(ctx, "errors/a", clientv3.WithRev(wanted*(put.Header.Revision+1)))); string(got.Kvs[0].Value) != "2" {
			t.Errorf("value %s", got.Kvs[0].Value)
		}
	}
}

func TestTransactions(t *testing.T) {
	client, ctx := connect(t)
	must[*clientv3.PutResponse](t)(client.Put(ctx, "txn/a", "1"))
	response := must[*clientv3.TxnResponse](t)(client.Txn(ctx).
		If(clientv3.Compare(clientv3.Value("txn/a"), "=", "1"),
			clientv3.Compare(clientv3.Version("txn/a"), ">", 0),
			clientv3.Compare(clientv3.CreateRevision("txn/b"), "=", 0),
			clientv3.Compare(clientv3.LeaseValue("txn/a"), "=", 0),
			clientv3.Compare(clientv3.ModRevision("txn/").WithPrefix(), "!=", 1)).
		Then(clientv3.OpPut("txn/b", "2"),
			clientv3.OpGet("txn/", clientv3.WithPrefix()),
			clientv3.OpTxn(
				[]clientv3.Cmp{clientv3.Compare(clientv3.Value("txn/a"), "=", "2")},
				[]clientv3.Op{clientv3.OpDelete("txn/a")},
				[]clientv3.Op{clientv3.OpPut("txn/c", "3", clientv3.WithPrevKV())})).
		Else(clientv3.OpDelete("txn/", clientv3.WithPrefix())).
		Commit())
	if !response.Succeeded || len(response.Responses) != 3 {
		t.Fatalf("transaction %v", response)
	}
	// What a transaction has put, it reads.
	if got := len(response.Responses[1].GetResponseRange().Kvs); got != 2 {
		t.Errorf("%d keys in the range", got)
	}
	if response.Responses[2].GetResponseTxn().Succeeded {
		t.Error("the nested compare held")
	}
	_, err := client.Txn(ctx).Then(clientv3.OpPut("txn/x", "1"), clientv3.OpPut("txn/x", "2")).Commit()
	wantError(t, err, rpctypes.ErrDuplicateKey)
	_, err = client.Txn(ctx).Then(make129()...).Commit()
	wantError(t, err, rpctypes.ErrTooManyOps)
	if got := must[*clientv3.GetResponse](t)(client.Get(ctx, "txn/", clientv3.WithPrefix())); keysOf(got) != "txn/a txn/b txn/c" {
		t.Errorf("keys %s", keysOf(got))
	}
}

func make129() []clientv3.Op {
	ops := make([]clientv3.Op, 129)
	for i := range ops {
		ops[i] = clientv3.OpGet("txn/a")
	}
	return ops
}

// STM reads and writes optimistically: lost updates would show in the sum.
func TestSoftwareTransactionalMemory(t *testing.T) {
	client, ctx := connect(t)
	must[*clientv3.PutResponse](t)(client.Put(ctx, "stm/n", ""))
	const workers, rounds = 8, 10
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for range rounds {
				if _, err := concurrency.NewSTM(client, func(stm concurrency.STM) error {
					stm.Put("stm/n", stm.Get("stm/n")+"x")
					return nil
				}, concurrency.WithAbortContext(ctx)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	got := must[*clientv3.GetResponse](t)(client.Get(ctx, "stm/n"))
	if len(got.Kvs[0].Value) != workers*rounds {
		t.Errorf("%d of %d updates", len(got.Kvs[0].Value), workers*rounds)
	}
}

func TestNamespaceAndOrdering(t *testing.T) {
	client, ctx := connect(t)
	kv := namespace.NewKV(ordering.NewKV(client.KV, func(clientv3.Op, clientv3.OpResponse, int64) error {
		return ordering.ErrNoGreaterRev
	}), "ns/")
	must[*clientv3.PutResponse](t)(kv.Put(ctx, "a", "1"))
	if got := must[*clientv3.GetResponse](t)(kv.Get(ctx, "", clientv3.WithPrefix())); keysOf(got) != "a" {
		t.Errorf("keys %q in the namespace", keysOf(got))
	}
	if got := must[*clientv3.GetResponse](t)(client.Get(ctx, "ns/a")); keysOf(got) != "ns/a" {
		t.Errorf("keys %q outside of it", keysOf(got))
	}
}

func TestPages(t *testing.T) {
	client, ctx := connect(t)
	const keys, page = 5_000, 500
	fill(t, client, ctx, "pages/", keys)
	end := clientv3.GetPrefixRangeEnd("pages/")
	key, revision, seen := "pages/", int64(0), 0
	for more := true; more; {
		got := must[*clientv3.GetResponse](t)(client.Get(ctx, key, clientv3.WithRange(end), clientv3.WithLimit(page), clientv3.WithRev(revision)))
		if revision == 0 {
			revision = got.Header.Revision
			// What happens behind the first page does not show on the next ones.
			must[*clientv3.PutResponse](t)(client.Put(ctx, "pages/zzz", "late"))
			must[*clientv3.DeleteResponse](t)(client.Delete(ctx, "pages/004999"))
		}
		if int(got.Count) != keys-seen {
			t.Fatalf("count %d after %d keys", got.Count, seen)
		}
		seen += len(got.Kvs)
		key = string(got.Kvs[len(got.Kvs)-1].Key) + "\x00"
		more = got.More
	}
	if seen != keys {
		t.Errorf("%d keys on all pages", seen)
	}
}

func TestRangeStream(t *testing.T) {
	client, ctx := connect(t)
	const keys = 20_000
	fill(t, client, ctx, "stream/", keys)
	whole := must[*clientv3.GetResponse](t)(client.Get(ctx, "stream/", clientv3.WithPrefix()))
	stream := must[clientv3.GetStreamChan](t)(client.GetStream(ctx, "stream/", clientv3.WithPrefix()))
	streamed := must[*clientv3.GetResponse](t)(clientv3.GetStreamToGetResponse(stream))
	if streamed.Count != keys || streamed.More || streamed.Header.Revision != whole.Header.Revision {
		t.Errorf("count %d, more %v, revision %d", streamed.Count, streamed.More, streamed.Header.Revision)
	}
	if len(streamed.Kvs) != len(whole.Kvs) {
		t.Fatalf("%d keys", len(streamed.Kvs))
	}
	for i, kv := range streamed.Kvs {
		if !bytes.Equal(kv.Key, whole.Kvs[i].Key) || !bytes.Equal(kv.Value, whole.Kvs[i].Value) {
			t.Fatalf("key %d: %s", i, kv.Key)
		}
	}
	stream = must[clientv3.GetStreamChan](t)(client.GetStream(ctx, "stream/", clientv3.WithPrefix(), clientv3.WithRev(1<<40)))
	_, err := clientv3.GetStreamToGetResponse(stream)
	wantError(t, err, rpctypes.ErrFutureRev)
}

func TestCancelledStream(t *testing.T) {
	client, ctx := connect(t)
	value := strings.Repeat("v", 100_000)
	for i := range 200 {
		must[*clientv3.PutResponse](t)(client.Put(ctx, fmt.Sprintf("cancel/%03d", i), value))
	}
	cancelled, cancel := context.WithCancel(ctx)
	stream := must[clientv3.GetStreamChan](t)(client.GetStream(cancelled, "cancel/", clientv3.WithPrefix()))
	first := <-stream
	if err := first.Err(); err != nil {
		t.Fatal(err)
	}
	cancel()
	var last error
	for chunk := range stream {
		last = chunk.Err()
	}
	wantError(t, last, context.Canceled)
	// The connection goes on.
	got := must[*clientv3.GetResponse](t)(client.Get(ctx, "cancel/", clientv3.WithPrefix()))
	if len(got.Kvs) != 200 {
		t.Errorf("%d keys", len(got.Kvs))
	}
}

func TestDeadlines(t *testing.T) {
	client, ctx := connect(t)
	expired, cancel := context.WithTimeout(ctx, time.Nanosecond)
	defer cancel()
	_, err := client.Put(expired, "deadline", "1")
	wantError(t, err, context.DeadlineExceeded)
	cancelled, cancelNow := context.WithCancel(ctx)
	cancelNow()
	_, err = client.Get(cancelled, "deadline")
	wantError(t, err, context.Canceled)
	must[*clientv3.PutResponse](t)(client.Put(ctx, "deadline", "2"))
}

func TestLargeRequests(t *testing.T) {
	client, ctx := connect(t, func(config *clientv3.Config) { config.MaxCallSendMsgSize = 8 << 20 })
	value := strings.Repeat("x", 1_572_000)
	must[*clientv3.PutResponse](t)(client.Put(ctx, "large", value))
	if got := must[*clientv3.GetResponse](t)(client.Get(ctx, "large")); string(got.Kvs[0].Value) != value {
		t.Error("the value came back as another one")
	}
	_, err := client.Put(ctx, "large", strings.Repeat("x", 1_572_865))
	wantError(t, err, rpctypes.ErrRequestTooLarge)
	_, err = client.Put(ctx, "large", strings.Repeat("x", 4<<20))
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("4 MiB: %v", err)
	}
}

func TestConcurrentRequests(t *testing.T) {
	client, ctx := connect(t)
	const workers, rounds = 100, 50
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for round := range rounds {
				key, value := fmt.Sprintf("concurrent/%d", worker), fmt.Sprint(round)
				put, err := client.Put(ctx, key, value)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := client.Get(ctx, key)
				if err != nil || string(got.Kvs[0].Value) != value || got.Header.Revision < put.Header.Revision {
					t.Errorf("read %v %v after writing %s at %d", got, err, value, put.Header.Revision)
					return
				}
			}
		})
	}
	group.Wait()
}

func TestMaintenance(t *testing.T) {
	client, ctx := connect(t)
	members := must[*clientv3.MemberListResponse](t)(client.MemberList(ctx))
	if len(members.Members) != 1 || members.Members[0].Name != "default" {
		t.Fatalf("members %v", members.Members)
	}
	endpoint := client.Endpoints()[0]
	state := must[*clientv3.StatusResponse](t)(client.Status(ctx, endpoint))
	if state.Leader != members.Members[0].ID || !strings.HasPrefix(state.Version, "3.") || len(state.Errors) != 0 {
		t.Errorf("status %v", state)
	}
	hash := must[*clientv3.HashKVResponse](t)(client.HashKV(ctx, endpoint, 0))
	if again := must[*clientv3.HashKVResponse](t)(client.HashKV(ctx, endpoint, hash.HashRevision)); again.Hash != hash.Hash {
		t.Errorf("hashes %v and %v", hash, again)
	}
	if alarms := must[*clientv3.AlarmResponse](t)(client.AlarmList(ctx)); len(alarms.Alarms) != 0 {
		t.Errorf("alarms %v", alarms.Alarms)
	}
	must[*clientv3.DefragmentResponse](t)(client.Defragment(ctx, endpoint))
	health := grpc_health_v1.NewHealthClient(client.ActiveConnection())
	checked := must[*grpc_health_v1.HealthCheckResponse](t)(health.Check(ctx, &grpc_health_v1.HealthCheckRequest{}))
	if checked.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health %v", checked)
	}
}
