package host

import (
	"bufio"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Accounts of plugins. By default each process has a user and group id that nothing else on the machine has:
// then no other process but root's can end it or read its memory, and its processes can be counted. The range is
// that which systemd documents as unused (UIDS-GIDS), below the ids of containers and dynamic users.
const (
	firstAccount = 60578
	lastAccount  = 61183
)

// ownAccount is the value of Config.User for an account that nothing else has.
const ownAccount = ""

// account is what a plugin process runs as.
type account struct {
	uid, gid uint32
	own      bool // nothing else has it
}

// accounts are those in use by the plugins of this process.
type accounts struct {
	mu   sync.Mutex
	used map[uint32]bool // guarded by mu
}

// takeAccount returns the account of a name, or one that nothing else has. A taken one is released by freeAccount.
func (a *accounts) takeAccount(name string) (account, error) {
	if name != ownAccount {
		return named(name)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.used == nil {
		a.used = map[uint32]bool{}
	}
	busy, err := busyUsers("/proc")
	if err != nil {
		return account{}, fmt.Errorf("account of plugins: %w", err)
	}
	known := mappedUsers("/proc/self/uid_map")
	for id := uint32(firstAccount); id <= lastAccount; id++ {
		if a.used[id] || busy[id] || !known(id) || hasName(id) {
			continue
		}
		a.used[id] = true
		return account{id, id, true}, nil
	}
	// In a user namespace with few ids, for example.
	return named("nobody")
}

// freeAccount frees a taken account.
func (a *accounts) freeAccount(x account) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.used, x.uid)
}

// named returns the account of a name.
func named(name string) (account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return account{}, fmt.Errorf("user of plugins: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("user of plugins: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("user of plugins: %w", err)
	}
	return account{uid: uint32(uid), gid: uint32(gid)}, nil
}

// hasName reports whether the machine has a name for a user or group id.
func hasName(id uint32) bool {
	text := strconv.FormatUint(uint64(id), 10)
	if _, err := user.LookupId(text); err == nil {
		return true
	}
	_, err := user.LookupGroupId(text)
	return err == nil
}

// busyUsers returns the real user ids of all processes that are visible.
func busyUsers(proc string) (map[uint32]bool, error) {
	dirs, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	busy := map[uint32]bool{}
	for _, d := range dirs {
		if _, err := strconv.Atoi(d.Name()); err != nil {
			continue
		}
		for _, id := range usersOf(filepath.Join(proc, d.Name(), "status")) {
			busy[id] = true
		}
	}
	return busy, nil
}

// usersOf returns the real, effective and saved user ids of a process, by proc_pid_status(5); none if it ended.
func usersOf(path string) (ids []uint32) {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		rest, ok := strings.CutPrefix(s.Text(), "Uid:")
		if !ok {
			continue
		}
		for _, text := range strings.Fields(rest) {
			if id, err := strconv.ParseUint(text, 10, 32); err == nil {
				ids = append(ids, uint32(id))
			}
		}
		break
	}
	return ids
}

// mappedUsers returns a function that reports whether the user namespace has an id, by user_namespaces(7). Where
// that is unknown, it has all.
func mappedUsers(path string) func(id uint32) bool {
	data, err := os.ReadFile(path)
	if err != nil {
		return func(uint32) bool { return true }
	}
	return func(id uint32) bool {
		for line := range strings.Lines(string(data)) {
			var inside, outside, n uint64
			if _, err := fmt.Sscan(line, &inside, &outside, &n); err == nil && uint64(id) >= inside && uint64(id) < inside+n {
				return true
			}
		}
		return false
	}
}

// String returns the account for display.
func (x account) String() string { return fmt.Sprintf("uid %d", x.uid) }
