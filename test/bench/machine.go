//go:build linux

package main

import (
	"bufio"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is what the numbers were measured on.
type machine struct {
	Kernel  string    `json:"kernel"`
	CPU     string    `json:"cpu"`
	CPUs    int       `json:"cpus"`
	Go      string    `json:"go"`
	Load    []float64 `json:"load"` // cores that were busy before each contender
	Command string    `json:"command"`
	Family  string    `json:"family"`
	Begin   time.Time `json:"begin"`
	Seconds float64   `json:"seconds"`
}

// describeMachine describes the machine.
func describeMachine(o *options) machine {
	m := machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), Command: strings.Join(os.Args, " "), Family: "IPv4", Begin: time.Now().UTC().Round(time.Second), CPU: "unknown"}
	if o.ipv6 {
		m.Family = "IPv6"
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return m
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == "model name" {
			m.CPU = strings.TrimSpace(v)
			break
		}
	}
	return m
}

// quietMoment waits a little for others to finish what they do, and returns how many cores are
// busy then.
func quietMoment() float64 {
	const enough, looks = 0.3, 5
	busy := busyCores(300 * time.Millisecond)
	for i := 1; i < looks && busy > enough; i++ {
		busy = busyCores(300 * time.Millisecond)
	}
	return busy
}

// busyCores measures how many cores are busy.
func busyCores(d time.Duration) float64 {
	a := busyTicks()
	time.Sleep(d)
	return float64(busyTicks()-a) / userTicks / d.Seconds()
}

// userTicks is USER_HZ, in which the kernel reports processor time.
const userTicks = 100

// busyTicks is the time that all cores spent on anything but idling.
func busyTicks() (n uint64) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(data), "\n")
	for i, f := range strings.Fields(line) {
		if v, err := strconv.ParseUint(f, 10, 64); err == nil && i != 4 && i != 5 && i <= 8 {
			n += v
		}
	}
	return n
}
