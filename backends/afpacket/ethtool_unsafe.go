//go:build linux

package afpacket

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ifreqData is struct ifreq with the pointer member, linux/if.h.
type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// Commands of linux/ethtool.h and the string set of features.
const (
	ethtoolSsetInfo    = 0x37
	ethtoolStrings     = 0x1b
	ethtoolGetFeatures = 0x3a
	ethtoolSetFeatures = 0x3b
	ethtoolFeatureSet  = 4
	ethtoolStringLen   = 32
)

// ethtool runs one command on an interface of the namespace of fd's socket.
func ethtool(fd int, name string, cmd []byte) error {
	req := ifreqData{data: unsafe.Pointer(&cmd[0])}
	copy(req.name[:unix.IFNAMSIZ-1], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	runtime.KeepAlive(cmd)
	if errno != 0 {
		return errno
	}
	return nil
}

// featuresOff switches off those offloads of an interface for which unwanted is true, and
// reports whether one was on.
func featuresOff(fd int, name string, unwanted func(feature string) bool) (changed bool, err error) {
	ne := binary.NativeEndian
	info := make([]byte, 24) // struct ethtool_sset_info with room for one length
	ne.PutUint32(info, ethtoolSsetInfo)
	ne.PutUint64(info[8:], 1<<ethtoolFeatureSet)
	if err := ethtool(fd, name, info); err != nil {
		return false, fmt.Errorf("count features of %s: %w", name, err)
	}
	n := int(ne.Uint32(info[16:]))
	names := make([]byte, 12+n*ethtoolStringLen) // struct ethtool_gstrings
	ne.PutUint32(names, ethtoolStrings)
	ne.PutUint32(names[4:], ethtoolFeatureSet)
	ne.PutUint32(names[8:], uint32(n))
	if err := ethtool(fd, name, names); err != nil {
		return false, fmt.Errorf("name features of %s: %w", name, err)
	}
	blocks := (n + 31) / 32
	get := make([]byte, 8+blocks*16) // struct ethtool_gfeatures: available, requested, active, never changed
	ne.PutUint32(get, ethtoolGetFeatures)
	ne.PutUint32(get[4:], uint32(blocks))
	if err := ethtool(fd, name, get); err != nil {
		return false, fmt.Errorf("read features of %s: %w", name, err)
	}
	set := make([]byte, 8+blocks*8) // struct ethtool_sfeatures: pairs of valid and requested
	ne.PutUint32(set, ethtoolSetFeatures)
	ne.PutUint32(set[4:], uint32(blocks))
	for i := range n {
		feature, _, _ := strings.Cut(string(names[12+i*ethtoolStringLen:][:ethtoolStringLen]), "\x00")
		if unwanted(feature) {
			word := set[8+i/32*8:]
			ne.PutUint32(word, ne.Uint32(word)|1<<(i%32))
			changed = changed || ne.Uint32(get[8+i/32*16+8:])&(1<<(i%32)) != 0
		}
	}
	if !changed {
		return false, nil
	}
	if err := ethtool(fd, name, set); err != nil {
		return true, fmt.Errorf("set features of %s: %w", name, err)
	}
	return true, nil
}
