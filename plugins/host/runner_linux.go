package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/plugins/wire"
)

// runner starts one unprivileged plugin process, as go-plugin's runner.Runner: as another user without
// capabilities or means to gain them, in an empty network namespace, with limits of memory, and killed
// with its parent.
type runner struct {
	cmd            *exec.Cmd
	process        atomic.Pointer[os.Process] // nil before it was started
	killed         atomic.Bool
	path           string
	memory         int64
	account        account       // valid for a host that runs as root
	release        func(account) // called when the process has ended; nil where no account was taken
	pipes          [2]*os.File   // our ends of standard output and standard error
	stdout, stderr io.ReadCloser // the same as go-plugin reads them
	done           chan struct{} // closed when the process has ended and ended is set
	ended          string        // how; valid once done is closed
	read           chan struct{} // closed when all of its output was read, too
}

// newRunner prepares a process. Spec holds go-plugin's environment; dir is the folder of its socket.
func newRunner(p *Plugin, h *Host, out *output, spec *exec.Cmd, dir string) (*runner, error) {
	c := &h.cfg
	exe, err := openPlugin(p)
	if err != nil {
		return nil, fmt.Errorf("open plugin: %w", err)
	}
	r := &runner{path: p.Path, memory: c.Memory, done: make(chan struct{}), read: make(chan struct{})}
	// The file is executed through its descriptor: the plugin's user needs no access to its folder, and the
	// checked file is the executed one.
	r.cmd = &exec.Cmd{Path: "/proc/self/fd/3", Args: append([]string{"sluice-plugin-" + p.Name}, p.Args...), ExtraFiles: []*os.File{exe}, Dir: "/"}
	r.cmd.Env = append(append([]string{"PATH=/usr/bin:/bin", "TMPDIR=" + dir, "GOMEMLIMIT=" + strconv.FormatInt(c.Memory, 10), "GOTRACEBACK=single",
		"GOMAXPROCS=" + strconv.Itoa(max(1, runtime.NumCPU()/4)), // parsing is a small part of the work, and wake-ups within one thread are cheap
		wire.SpaceKey + "=" + strconv.FormatUint(space(c.Memory), 10), wire.DataKey + "=" + strconv.FormatUint(data(c.Memory), 10)}, p.Env...), spec.Env...)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	if os.Geteuid() == 0 {
		err = r.unprivileged(h, dir)
	}
	var stdout, stderr io.ReadCloser
	if err == nil {
		stdout, err = r.cmd.StdoutPipe()
	}
	if err == nil {
		stderr, err = r.cmd.StderrPipe()
	}
	if err != nil {
		exe.Close()
		r.freeAccount()
		return nil, err
	}
	r.pipes = [2]*os.File{stdout.(*os.File), stderr.(*os.File)} // as os/exec makes them
	r.stdout, r.stderr = newHandshake(stdout, out.stream(stdoutName)), stderr
	return r, nil
}

// unprivileged sets another user and a network namespace of its own for the process.
func (r *runner) unprivileged(h *Host, dir string) error {
	a, err := h.accounts.takeAccount(h.cfg.User)
	if err != nil {
		return err
	}
	r.account, r.release = a, h.accounts.freeAccount
	if err := os.Chown(dir, int(a.uid), int(a.gid)); err != nil {
		return permitted(fmt.Errorf("folder of the plugin's socket: %w", err))
	}
	if a.own { // the kernel counts the tasks of an account
		r.cmd.Env = append(r.cmd.Env, wire.TasksKey+"="+strconv.Itoa(maxTasks))
	}
	r.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	r.cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC
	return nil
}

// Start implements runner.Runner. Settings that os/exec lacks are set on the starting thread and
// inherited; the thread then waits for the process, because the parent of Pdeathsig is a thread, and ends
// with its goroutine.
func (r *runner) Start(context.Context) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := ordinary()
		if err == nil {
			err = confine()
		}
		if err == nil {
			err = permitted(r.cmd.Start())
		}
		for _, f := range r.cmd.ExtraFiles {
			f.Close()
		}
		if err != nil {
			r.freeAccount()
			started <- err
			return
		}
		r.process.Store(r.cmd.Process)
		if err = r.limit(); err != nil || r.killed.Load() {
			_ = r.Kill(context.Background())
		}
		started <- err
		r.await()
	}()
	return <-started
}

// ordinary resets a raised scheduling priority of the calling thread: it is for the dataplane, not for plugins.
func ordinary() error {
	const zero = 20 // of the system call, which returns 20-nice
	if raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err != nil || raw <= zero {
		return nil
	}
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, 0); err != nil {
		return fmt.Errorf("set nice value: %w", err)
	}
	return nil
}

// freeAccount releases the account of a process that has ended, or did not start.
func (r *runner) freeAccount() {
	if r.release != nil {
		r.release(r.account)
		r.release = nil
	}
}

// outputGrace bounds the wait for the output of an ended process: its children in other sessions may keep
// the pipes open.
const outputGrace = 500 * time.Millisecond

// await waits for the process's end, and kills its children.
func (r *runner) await() {
	pid := r.cmd.Process.Pid
	// The process keeps its number, and with it its group's, until it is waited for below.
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR { //nolint:revive // the call is the wait
	}
	_ = unix.Kill(-pid, unix.SIGKILL)
	state, err := r.cmd.Process.Wait()
	if r.ended = "unknown"; err == nil {
		r.ended = state.String()
	}
	r.freeAccount()
	close(r.done)
	for _, f := range r.pipes {
		_ = f.SetReadDeadline(time.Now().Add(outputGrace))
	}
}

// openFile opens a file to be executed.
func openFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe would block until it has a writer
}

// identify returns the identity of a file's content, and when it changed last.
func identify(info os.FileInfo) (id fileID, changed time.Time) {
	id = fileID{size: info.Size(), written: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		id.dev, id.ino = st.Dev, st.Ino
		changed = time.Unix(st.Ctim.Unix())
	}
	return id, changed
}

// trusted reports whether a file belongs to root or to the user that this process runs as.
func trusted(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && (st.Uid == 0 || int(st.Uid) == os.Geteuid())
}

// permitted adds to an error what to do if a container lacks the capabilities to start a plugin.
func permitted(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("run it as another user in a network namespace of its own: %w: give sluice CAP_CHOWN, CAP_SETUID, CAP_SETGID, CAP_SETPCAP and CAP_SYS_ADMIN, or use --parsers inprocess", err)
	}
	return err
}

// confine removes all means to gain privileges from the calling thread and its children.
func confine() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	// Inherited descriptors are not for plugins. Kernels before 5.11 lack the flag; the process's own files
	// have it in any case.
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	if os.Geteuid() != 0 {
		return nil
	}
	// The bounding set limits the child's capabilities for good; those needed to start it stay with this
	// thread until then.
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL {
			return permitted(fmt.Errorf("drop capability %d: %w", c, err))
		}
	}
	return nil
}

// space returns the limit of a plugin's address space. Go reserves far more than it uses.
func space(memory int64) uint64 { return uint64(max(8*memory, 4<<30)) }

// data returns the limit of a plugin's private memory: the heap's soft limit, a quarter more, and a Go
// program's memory other than the heap (RLIMIT_DATA counts private writable mappings, not reservations).
func data(memory int64) uint64 { return uint64(memory + memory/4 + 256<<20) }

// maxTasks is the maximum number of processes and threads of a plugin with an account of its own.
const maxTasks = 256

// limit sets the limits of the started process. For another user's this needs CAP_SYS_RESOURCE, which
// containers often lack; then only the limits apply that plugins/sdk sets itself.
func (r *runner) limit() error {
	type limit struct {
		what int
		n    uint64
	}
	limits := []limit{{unix.RLIMIT_AS, space(r.memory)}, {unix.RLIMIT_DATA, data(r.memory)}, {unix.RLIMIT_CORE, 0}, {unix.RLIMIT_NOFILE, wire.MaxFiles}, {unix.RLIMIT_FSIZE, wire.MaxFile}}
	if r.account.own {
		limits = append(limits, limit{unix.RLIMIT_NPROC, maxTasks})
	}
	for _, l := range limits {
		if err := unix.Prlimit(r.cmd.Process.Pid, l.what, &unix.Rlimit{Cur: l.n, Max: l.n}, nil); err != nil && err != unix.EPERM && err != unix.ESRCH {
			return fmt.Errorf("limit a plugin: %w", err)
		}
	}
	return nil
}

// Wait implements runner.Runner; go-plugin calls it after reading all output.
func (r *runner) Wait(context.Context) error {
	<-r.done
	for _, f := range r.pipes {
		_ = f.Close()
	}
	close(r.read)
	return nil
}

// Kill implements runner.Runner; await kills the process's children. It is safe for concurrent use.
func (r *runner) Kill(context.Context) error {
	r.killed.Store(true)
	p := r.process.Load()
	if p == nil {
		return nil // Start kills it
	}
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// pid returns the process's number, 0 before its start.
func (r *runner) pid() int {
	if p := r.process.Load(); p != nil {
		return p.Pid
	}
	return 0
}

// Stdout implements runner.Runner.
func (r *runner) Stdout() io.ReadCloser { return r.stdout }

// Stderr implements runner.Runner.
func (r *runner) Stderr() io.ReadCloser { return r.stderr }

// Name implements runner.Runner.
func (r *runner) Name() string { return r.path }

// ID implements runner.Runner.
func (r *runner) ID() string {
	if n := r.pid(); n != 0 {
		return strconv.Itoa(n)
	}
	return ""
}

// Diagnose implements runner.Runner.
func (r *runner) Diagnose(context.Context) string {
	return "the file may be for another architecture, or no plugin made with plugins/sdk"
}

// PluginToHost implements runner.AddrTranslator: both have the same file system.
func (r *runner) PluginToHost(network, addr string) (string, string, error) {
	return network, addr, nil
}

// HostToPlugin implements runner.AddrTranslator.
func (r *runner) HostToPlugin(network, addr string) (string, string, error) {
	return network, addr, nil
}
