package backend

// Feature is something that a backend needs of the machine. A backend's Probe detects it by
// using it, never by the kernel's version or configuration.
type Feature struct {
	// Name is the feature's name.
	Name string
	// Err is the reason why it is unavailable; nil if it is available.
	Err error
	// Essential: without it nothing can be watched or nothing can be enforced.
	Essential bool
	// Detail is what was tried.
	Detail string
	// Cost is what does not work without it, Remedy how to get it.
	Cost, Remedy string
}
