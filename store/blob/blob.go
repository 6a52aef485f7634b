// Package blob stores values larger than the limit of one object: the bytes are compressed and split into
// parts, and a head object written last lists them, so that a reader sees either the new blob or the
// previous one. It does not interpret the contents.
package blob

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sluicenet/sluice/store"
)

const (
	// partSize is the maximum size of one part in bytes.
	partSize = 256 << 10
	// maxParts bounds the parts that a head lists: 256 MiB compressed.
	maxParts = 1024
	// maxBlob bounds the uncompressed bytes, against corrupt parts.
	maxBlob = 1 << 30
)

// ErrBroken means that stored data is corrupt: a part is missing or changed. It persists until the next
// Write.
var ErrBroken = errors.New("stored data is broken")

// Head is the object that names the parts of a blob. The zero Head is that of a blob that
// was never written.
type Head struct {
	Version uint64 `json:"version"`
	Parts   int    `json:"parts"`
	SHA256  string `json:"sha256"` // of the concatenated parts
}

// HeadKey is the key of the head of the blob at path; watch it for new ones.
func HeadKey(path string) string { return path + "/head" }

func partKey(path string, version uint64, n int) string {
	return fmt.Sprintf("%s/%d/%d", path, version, n)
}

// Write makes data the blob at path. The version must be higher than that of the one
// before, which is deleted. A second writer at the same time gets store.ErrConflict.
func Write(ctx context.Context, st store.Store, path string, version uint64, data []byte) error {
	data, err := pack(data)
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	old, rev, err := ReadHead(ctx, st, path)
	if err != nil && !errors.Is(err, ErrBroken) {
		return err
	}
	if old.Version >= version {
		return fmt.Errorf("version %d is there already: %w", old.Version, store.ErrConflict)
	}
	sum := sha256.Sum256(data)
	h := Head{Version: version, SHA256: hex.EncodeToString(sum[:])}
	var parts, deletes []store.Op
	for ; len(data) > 0; h.Parts++ {
		n := min(len(data), partSize)
		parts = append(parts, store.Op{Key: partKey(path, version, h.Parts), Value: data[:n], Revision: store.Any})
		data = data[n:]
	}
	if h.Parts > maxParts {
		return fmt.Errorf("%d parts are more than %d", h.Parts, maxParts)
	}
	for n := range old.Parts {
		deletes = append(deletes, store.Op{Key: partKey(path, old.Version, n), Delete: true, Revision: store.Any})
	}
	b, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("pack head: %w", err)
	}
	return commit(ctx, st, parts, store.Op{Key: HeadKey(path), Value: b, Revision: rev}, deletes)
}

// commit writes parts, head and deletions in this order, in one Commit if they fit.
func commit(ctx context.Context, st store.Store, parts []store.Op, head store.Op, deletes []store.Op) error {
	all := slices.Concat(parts, []store.Op{head}, deletes)
	if store.Check(all) == nil {
		_, err := st.Commit(ctx, all...)
		return err
	}
	if err := commitAll(ctx, st, parts); err != nil {
		return err
	}
	if _, err := st.Commit(ctx, head); err != nil {
		return err
	}
	return commitAll(ctx, st, deletes)
}

func commitAll(ctx context.Context, st store.Store, ops []store.Op) error {
	for chunk := range store.Chunks(ops) {
		if _, err := st.Commit(ctx, chunk...); err != nil {
			return err
		}
	}
	return nil
}

// Clean deletes parts without a head, left by an interrupted writer. No Write of the blob may be in
// progress.
func Clean(ctx context.Context, st store.Store, path string) error {
	h, _, err := ReadHead(ctx, st, path)
	if err != nil && !errors.Is(err, ErrBroken) {
		return err
	}
	live := fmt.Sprintf("%s/%d/", path, h.Version)
	return remove(ctx, st, path, func(key string) bool {
		return key != HeadKey(path) && !strings.HasPrefix(key, live)
	})
}

// Remove deletes the blob.
func Remove(ctx context.Context, st store.Store, path string) error {
	return remove(ctx, st, path, func(string) bool { return true })
}

func remove(ctx context.Context, st store.Store, path string, which func(key string) bool) error {
	list, _, err := st.List(ctx, path+"/")
	if err != nil {
		return err
	}
	var ops []store.Op
	for _, o := range list {
		if which(o.Key) {
			ops = append(ops, store.Op{Key: o.Key, Delete: true, Revision: store.Any})
		}
	}
	return commitAll(ctx, st, ops)
}

// ReadHead returns the blob's head and its revision; zero, without an error, if there is none.
func ReadHead(ctx context.Context, st store.Store, path string) (Head, store.Revision, error) {
	o, err := st.Get(ctx, HeadKey(path))
	if errors.Is(err, store.ErrNotFound) {
		return Head{}, 0, nil
	}
	if err != nil {
		return Head{}, 0, err
	}
	h, err := ParseHead(o.Value)
	return h, o.Revision, err
}

// ParseHead reads the value of a head object.
func ParseHead(b []byte) (Head, error) {
	var h Head
	if err := json.Unmarshal(b, &h); err != nil {
		return Head{}, fmt.Errorf("%w: head: %w", ErrBroken, err)
	}
	if h.Parts < 1 || h.Parts > maxParts {
		return Head{}, fmt.Errorf("%w: head names %d parts", ErrBroken, h.Parts)
	}
	return h, nil
}

// Read returns the blob's bytes and version; nil and 0 if there is none.
func Read(ctx context.Context, st store.Store, path string) ([]byte, uint64, error) {
	for {
		h, rev, err := ReadHead(ctx, st, path)
		if err != nil || rev == 0 {
			return nil, 0, err
		}
		data, err := ReadParts(ctx, st, path, h)
		if err == nil || !errors.Is(err, ErrBroken) {
			return data, h.Version, err
		}
		// Broken, or replaced during the read.
		if again, _, aerr := ReadHead(ctx, st, path); aerr != nil || again == h {
			return nil, 0, err
		}
	}
}

// ReadParts returns the bytes that a head lists. The error is ErrBroken, too, if a newer blob has replaced
// that one.
func ReadParts(ctx context.Context, st store.Store, path string, h Head) ([]byte, error) {
	var data []byte
	for n := range h.Parts {
		o, err := st.Get(ctx, partKey(path, h.Version, n))
		if errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("%w: part %d of version %d is missing", ErrBroken, n, h.Version)
		}
		if err != nil {
			return nil, err
		}
		data = append(data, o.Value...)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != h.SHA256 {
		return nil, fmt.Errorf("%w: version %d is not what was written", ErrBroken, h.Version)
	}
	out, err := unpack(data)
	if err != nil {
		return nil, fmt.Errorf("%w: version %d: %w", ErrBroken, h.Version, err)
	}
	return out, nil
}

func pack(data []byte) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(data); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func unpack(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(z, maxBlob+1))
	if err == nil && len(out) > maxBlob {
		err = fmt.Errorf("more than %d bytes", maxBlob)
	}
	return out, errors.Join(err, z.Close())
}
