package interop

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

func TestLeases(t *testing.T) {
	client, ctx := connect(t)
	lease := must[*clientv3.LeaseGrantResponse](t)(client.Grant(ctx, 60))
	must[*clientv3.PutResponse](t)(client.Put(ctx, "lease/a", "1", clientv3.WithLease(lease.ID)))
	left := must[*clientv3.LeaseTimeToLiveResponse](t)(client.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys()))
	if left.GrantedTTL != 60 || left.TTL < 50 || len(left.Keys) != 1 || string(left.Keys[0]) != "lease/a" {
		t.Errorf("time to live %v", left)
	}
	if kept := must[*clientv3.LeaseKeepAliveResponse](t)(client.KeepAliveOnce(ctx, lease.ID)); kept.TTL != 60 {
		t.Errorf("kept alive for %d s", kept.TTL)
	}
	found := false
	for _, each := range must[*clientv3.LeaseLeasesResponse](t)(client.Leases(ctx)).Leases {
		found = found || each.ID == lease.ID
	}
	if !found {
		t.Error("the lease is not listed")
	}
	must[*clientv3.LeaseRevokeResponse](t)(client.Revoke(ctx, lease.ID))
	if got := must[*clientv3.GetResponse](t)(client.Get(ctx, "lease/a")); got.Count != 0 {
		t.Error("the key outlived its lease")
	}
	_, err := client.Revoke(ctx, lease.ID)
	wantError(t, err, rpctypes.ErrLeaseNotFound)
	_, err = client.KeepAliveOnce(ctx, lease.ID)
	wantError(t, err, rpctypes.ErrLeaseNotFound)
	_, err = client.Grant(ctx, 9_000_000_001)
	wantError(t, err, rpctypes.ErrLeaseTTLTooLarge)
}

func TestLeaseExpiresUnlessKeptAlive(t *testing.T) {
	client, ctx := connect(t)
	short := must[*clientv3.LeaseGrantResponse](t)(client.Grant(ctx, 2))
	kept := must[*clientv3.LeaseGrantResponse](t)(client.Grant(ctx, 2))
	for range must[<-chan *clientv3.LeaseKeepAliveResponse](t)(client.KeepAlive(ctx, kept.ID)) {
		break
	}
	must[*clientv3.PutResponse](t)(client.Put(ctx, "expiry/short", "", clientv3.WithLease(short.ID)))
	must[*clientv3.PutResponse](t)(client.Put(ctx, "expiry/kept", "", clientv3.WithLease(kept.ID)))
	deleted := client.Watch(ctx, "expiry/", clientv3.WithPrefix(), clientv3.WithFilterPut())
	select {
	case response := <-deleted:
		if key := string(response.Events[0].Kv.Key); key != "expiry/short" {
			t.Errorf("%s is gone", key)
		}
	case <-time.After(10 * time.Second):
		t.Error("the lease has not expired")
	}
	time.Sleep(time.Second)
	if got := must[*clientv3.GetResponse](t)(client.Get(ctx, "expiry/kept")); got.Count != 1 {
		t.Error("the lease that was kept alive has expired")
	}
}

func TestWatch(t *testing.T) {
	client, ctx := connect(t)
	put := must[*clientv3.PutResponse](t)(client.Put(ctx, "watch/a", "1"))
	must[*clientv3.PutResponse](t)(client.Put(ctx, "watch/a", "2"))
	watching, cancel := context.WithCancel(ctx)
	history := client.Watch(watching, "watch/", clientv3.WithPrefix(), clientv3.WithRev(put.Header.Revision), clientv3.WithPrevKV())
	must[*clientv3.TxnResponse](t)(client.Txn(ctx).Then(clientv3.OpPut("watch/b", "3"), clientv3.OpDelete("watch/a")).Commit())
	var seen []string
	for len(seen) < 4 {
		response := <-history
		if err := response.Err(); err != nil {
			t.Fatal(err)
		}
		for _, event := range response.Events {
			line := event.Type.String() + " " + string(event.Kv.Key) + "=" + string(event.Kv.Value)
			if event.PrevKv != nil {
				line += " after " + string(event.PrevKv.Value)
			}
			seen = append(seen, line)
		}
	}
	for i, want := range []string{"PUT watch/a=1", "PUT watch/a=2 after 1", "PUT watch/b=3", "DELETE watch/a= after 2"} {
		if seen[i] != want {
			t.Errorf("event %d is %q, and not %q", i, seen[i], want)
		}
	}
	cancel()
	for range history {
	}
	must[*clientv3.CompactResponse](t)(client.Compact(ctx, put.Header.Revision+1))
	response := <-client.Watch(ctx, "watch/a", clientv3.WithRev(put.Header.Revision))
	wantError(t, response.Err(), rpctypes.ErrCompacted)
	if response.CompactRevision != put.Header.Revision+1 {
		t.Errorf("compacted at %d", response.CompactRevision)
	}
}

// Mutexes are leases, transactions and watches together.
func TestMutexAndElection(t *testing.T) {
	client, ctx := connect(t)
	const workers, rounds = 4, 5
	inside, entered := 0, 0
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			session, err := concurrency.NewSession(client)
			if err != nil {
				t.Error(err)
				return
			}
			defer session.Close()
			mutex := concurrency.NewMutex(session, "mutex/")
			for range rounds {
				if err := mutex.Lock(ctx); err != nil {
					t.Error(err)
					return
				}
				inside, entered = inside+1, entered+1
				if inside != 1 {
					t.Errorf("%d hold the mutex", inside)
				}
				inside--
				if err := mutex.Unlock(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if entered != workers*rounds {
		t.Errorf("locked %d times", entered)
	}
	session := must[*concurrency.Session](t)(concurrency.NewSession(client))
	election := concurrency.NewElection(session, "election/")
	if err := election.Campaign(ctx, "me"); err != nil {
		t.Fatal(err)
	}
	leader := must[*clientv3.GetResponse](t)(election.Leader(ctx))
	if string(leader.Kvs[0].Value) != "me" {
		t.Errorf("leader %s", leader.Kvs[0].Value)
	}
	session.Close()
	_, err := concurrency.ResumeElection(must[*concurrency.Session](t)(concurrency.NewSession(client)), "election/", string(leader.Kvs[0].Key), leader.Kvs[0].CreateRevision).Leader(ctx)
	wantError(t, err, concurrency.ErrElectionNoLeader)
}
