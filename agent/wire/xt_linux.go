package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Families of the older iptables, and the file that lists a namespace's tables.
var xtFamilies = []struct {
	names string
	xtFamily
}{
	{"/proc/thread-self/net/ip_tables_names", xtFamily{info: 64, entries: 65, level: unix.SOL_IP, family: unix.AF_INET, targetAt: 88, header: 112}},
	{"/proc/thread-self/net/ip6_tables_names", xtFamily{info: 64, entries: 65, level: unix.SOL_IPV6, family: unix.AF_INET6, targetAt: 140, header: 168, ipv6: true}},
}

// xtTries bounds the reads of a table that changes meanwhile.
const xtTries = 3

// xtRedirects reads the older iptables of the thread's namespace. Tables that do not exist yet are not read,
// because reading creates them.
func xtRedirects() (m Mesh, err error) {
	for _, f := range xtFamilies {
		names, err := os.ReadFile(f.names)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without them
		}
		if err != nil {
			return m, fmt.Errorf("list old tables: %w", err)
		}
		for _, table := range strings.Fields(string(names)) {
			if table != "nat" && table != "mangle" {
				continue
			}
			found, err := xtTable(&f.xtFamily, table)
			if err != nil {
				return m, fmt.Errorf("read old table %s: %w", table, err)
			}
			m = m.Or(found)
		}
	}
	return m, nil
}

// xtTable reads one table.
func xtTable(f *xtFamily, table string) (Mesh, error) {
	fd, err := unix.Socket(f.family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return Mesh{}, err
	}
	defer unix.Close(fd)
	for try := 1; ; try++ {
		info, rules, err := xtRead(fd, f, table)
		if errors.Is(err, unix.EAGAIN) && try < xtTries {
			continue // its size has changed between the calls
		}
		if err != nil {
			return Mesh{}, err
		}
		return Mesh{
			Out: table == "nat" && info.hooks[hookOut] >= 0 && xtReaches(rules, info.hooks[hookOut], f),
			In:  info.hooks[hookPre] >= 0 && xtReaches(rules, info.hooks[hookPre], f),
		}, nil
	}
}

// xtRead reads a table's head and its rules.
func xtRead(fd int, f *xtFamily, table string) (xtInfo, []byte, error) {
	head := make([]byte, xtInfoLen)
	copy(head, table)
	n, err := getsockopt(fd, f.level, f.info, head)
	if err != nil {
		return xtInfo{}, nil, fmt.Errorf("its size: %w", err)
	}
	info, ok := parseXTInfo(head[:n])
	if !ok {
		return xtInfo{}, nil, errors.New("its size is invalid")
	}
	rules := make([]byte, xtHeader+info.size)
	copy(rules, table)
	binary.NativeEndian.PutUint32(rules[xtNameLen:], uint32(info.size))
	if _, err = getsockopt(fd, f.level, f.entries, rules); err != nil {
		return xtInfo{}, nil, fmt.Errorf("its rules: %w", err)
	}
	return info, rules[xtHeader:], nil
}
