package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicenet/sluice/internal/mtls"
)

// certsFlags are the flags of `sluice certs`.
type certsFlags struct {
	out                 string
	agents, controllers []string
	renew               []string
	days                int
	newCA, forget       bool
}

const certsHelp = `Makes a folder for each machine below --out, with its certificate (tls.crt), its key (tls.key) and what it trusts
(ca.crt): copy it to the machine, and name it there with --tls-dir. The authority is made the first time and used again
later; its key, ca.key, is needed for new certificates only and belongs on no other machine.

A certificate states a role and a name. A controller's lets its holder serve as one, at the names and addresses
given here and no others, so name all at which agents and the other controllers reach it. An agent's lets its
holder report for the node of that name, and for no other: start the agent with --node and the same name.

Renewing: certificates are valid for a year (--days), and their machines log a warning a month before the end.
--renew makes new ones for the same roles and addresses; copy the folders again. A running controller or agent takes
them up with its next connection, without a restart; if the files do not belong together it reports that and
continues with the previous ones. An agent whose certificate has expired continues to enforce and keeps its reports.

A new authority: --new-authority makes one that is trusted beside the old one. Copy ca.crt to every machine;
then --renew all and copy the folders; then --forget-authorities and copy ca.crt again: what the old
authority signed is refused from then on.`

func newCerts(c *cli) *cobra.Command {
	var f certsFlags
	cmd := &cobra.Command{
		Use:   "certs",
		Short: "Make the certificates by which agents and controllers authenticate each other",
		Long:  certsHelp,
		Example: `  sluice certs --out certs --controllers ctl1=10.0.0.11,ctl2=10.0.0.12+ctl2.example.com --agents node1,node2
  sluice certs --out certs --agents node3
  sluice certs --out certs --renew node1,ctl1
  sluice certs --out certs --renew all --days 90`,
		Args: args(),
		RunE: func(*cobra.Command, []string) error { return f.run(c) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.out, "out", "certs", "folder for the authority and the machines' folders")
	fl.StringSliceVar(&f.agents, "agents", nil, "names of nodes, as their agents have with --node")
	fl.StringSliceVar(&f.controllers, "controllers", nil, "controllers: NAME=ADDRESS+ADDRESS, or an address alone")
	fl.StringSliceVar(&f.renew, "renew", nil, "names of machines whose certificates are renewed, or all")
	fl.IntVar(&f.days, "days", 365, "days for which certificates are valid")
	fl.BoolVar(&f.newCA, "new-authority", false, "make a new authority, trusted beside the old one")
	fl.BoolVar(&f.forget, "forget-authorities", false, "trust the newest authority alone")
	return cmd
}

// run does the one requested thing.
func (f *certsFlags) run(c *cli) error {
	if f.days < 1 || f.days > 3650 {
		return fmt.Errorf("--days %d: give 1 to 3650", f.days)
	}
	life := time.Duration(f.days) * 24 * time.Hour
	making := len(f.agents)+len(f.controllers) > 0
	if n := count(making, len(f.renew) > 0, f.newCA, f.forget); n > 1 {
		return errors.New("make certificates, renew them, or change the authority: one at a time")
	}
	switch {
	case f.newCA:
		return f.printDone(c, mtls.NewAuthority(f.out), "The new authority is trusted beside the old one: copy ca.crt to every machine, then renew all certificates.")
	case f.forget:
		return f.printDone(c, mtls.ForgetAuthorities(f.out), "The newest authority alone is trusted: copy ca.crt to every machine.")
	case len(f.renew) > 0:
		names := f.renew
		if slices.Equal(names, []string{"all"}) {
			names = nil
		}
		subjects, err := mtls.Renew(f.out, names, life)
		if err != nil {
			return err
		}
		return f.list(c, subjects)
	}
	subjects, err := subjectsOf(f.controllers, f.agents)
	if err != nil {
		return err
	}
	for i := range subjects {
		subjects[i].Life = life
	}
	if err := mtls.Issue(f.out, subjects); err != nil {
		return err
	}
	return f.list(c, subjects)
}

func count(of ...bool) (n int) {
	for _, b := range of {
		if b {
			n++
		}
	}
	return n
}

func (f *certsFlags) printDone(c *cli, err error, text string) error {
	if err == nil && !c.json() {
		fmt.Fprintln(c.out, text)
	}
	return err
}

// list shows where the machines' folders are.
func (f *certsFlags) list(c *cli, subjects []mtls.Subject) error {
	if c.json() {
		return c.document(folders(f.out, subjects))
	}
	for _, s := range subjects {
		fmt.Fprintf(c.out, "%s %s: --tls-dir %s\n", s.Role, s.Name, filepath.Join(f.out, s.Name))
	}
	return nil
}

// subjectsOf reads the lists of machines.
func subjectsOf(controllers, agents []string) ([]mtls.Subject, error) {
	var out []mtls.Subject
	for _, text := range controllers {
		name, hosts, ok := strings.Cut(text, "=")
		if !ok {
			hosts = name
		}
		s := mtls.Subject{Identity: mtls.Identity{Role: mtls.Controller, Name: name}}
		for h := range strings.SplitSeq(hosts, "+") {
			if h == "" || strings.ContainsAny(h, "/ ") {
				return nil, fmt.Errorf("--controllers %q: write NAME=ADDRESS+ADDRESS, without ports", text)
			}
			s.Hosts = append(s.Hosts, h)
		}
		out = append(out, s)
	}
	for _, name := range agents {
		out = append(out, mtls.Subject{Identity: mtls.Identity{Role: mtls.Agent, Name: name}})
	}
	if len(out) == 0 {
		return nil, errors.New("no names to make certificates for: give them with --controllers and --agents, or renew with --renew")
	}
	return out, nil
}

// folder is one machine's, in JSON.
type folder struct {
	Role string `json:"role"`
	Name string `json:"name"`
	Dir  string `json:"dir"`
}

func folders(dir string, subjects []mtls.Subject) []folder {
	var out []folder
	for _, s := range subjects {
		out = append(out, folder{s.Role.String(), s.Name, filepath.Join(dir, s.Name)})
	}
	return out
}
