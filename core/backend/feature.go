package backend

// Feature is something that a backend needs of the machine. A backend's Probe finds out by using it, never by
// the kernel's version or configuration.
type Feature struct {
	// Name is what is needed.
	Name string
	// Err is why it is not there; nil if it is.
	Err error
	// Essential: without it nothing can be watched or nothing can be enforced.
	Essential bool
	// Detail is what was tried.
	Detail string
	// Cost is what does not work without it, Remedy what to do about it.
	Cost, Remedy string
}
