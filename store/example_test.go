package store_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/sluicenet/sluice/store"
	"github.com/sluicenet/sluice/store/embedded"
)

// An object is changed only from the revision that was read: of two writers the second gets an error.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var s store.Store
	s, err = embedded.Open(filepath.Join(dir, "sluice.db"), embedded.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	ctx := context.Background()
	made, err := s.Commit(ctx, store.Op{Key: "mode/web", Value: []byte("discover")}) // must not exist
	if err != nil {
		log.Fatal(err)
	}
	_, err = s.Commit(ctx, store.Op{Key: "mode/web", Value: []byte("monitor"), Revision: made})
	fmt.Println("from the revision that was read:", err)
	_, err = s.Commit(ctx, store.Op{Key: "mode/web", Value: []byte("protect"), Revision: made})
	fmt.Println("from the one before:", err, errors.Is(err, store.ErrConflict))
	o, err := s.Get(ctx, "mode/web")
	fmt.Println(string(o.Value), err)
	// Output:
	// from the revision that was read: <nil>
	// from the one before: "mode/web": changed by another writer true
	// monitor <nil>
}

// A watch from revision 0 yields what exists, then a mark, then changes as they are made.
func ExampleStore_Watch() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := embedded.Open(filepath.Join(dir, "sluice.db"), embedded.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if _, err := s.Commit(ctx, store.Op{Key: "rule/1", Value: []byte("allow")}); err != nil {
		log.Fatal(err)
	}
	for e, err := range s.Watch(ctx, "rule/", 0) {
		switch {
		case err != nil:
			log.Fatal(err)
		case e.Synced:
			fmt.Println("that is all there was")
			if _, err := s.Commit(ctx, store.Op{Key: "rule/1", Delete: true, Revision: store.Any}); err != nil {
				log.Fatal(err)
			}
		case e.Deleted:
			fmt.Println(e.Object.Key, "deleted")
			return
		default:
			fmt.Println(e.Object.Key, string(e.Object.Value))
		}
	}
	// Output:
	// rule/1 allow
	// that is all there was
	// rule/1 deleted
}
