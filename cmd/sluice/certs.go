package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicenet/sluice/internal/mtls"
)

func newCerts(c *cli) *cobra.Command {
	var out string
	var agents, controllers []string
	cmd := &cobra.Command{
		Use:   "certs",
		Short: "Make the certificates by which agents and controllers know each other",
		Long: `Makes a folder for each machine below --out, with its certificate, its key and the authority's certificate:
copy it there, and name it with --tls-dir. The authority is made the first time and used again later; its key,
ca.key, is needed for new certificates only and belongs on no other machine. Certificates are good for a year; a
process takes a new one up without a restart.

A controller is given with every name and address at which agents and the other controllers reach it.`,
		Example: `  sluice certs --out certs --controllers ctl1=10.0.0.11,ctl2=10.0.0.12+ctl2.example.com --agents node1,node2
  sluice certs --out certs --agents node3`,
		Args: args(),
		RunE: func(*cobra.Command, []string) error {
			subjects, err := subjectsOf(controllers, agents)
			if err != nil {
				return err
			}
			if err := mtls.Issue(out, subjects); err != nil {
				return err
			}
			if c.json() {
				return c.document(folders(out, subjects))
			}
			for _, s := range subjects {
				fmt.Fprintf(c.out, "%s %s: --tls-dir %s\n", s.Role, s.Name, filepath.Join(out, s.Name))
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&out, "out", "certs", "folder for the authority and the machines' folders")
	fl.StringSliceVar(&agents, "agents", nil, "names of nodes, as their agents have with --node")
	fl.StringSliceVar(&controllers, "controllers", nil, "controllers: NAME=ADDRESS+ADDRESS, or an address alone")
	return cmd
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
		return nil, errors.New("there is nobody to make certificates for: name them with --controllers and --agents")
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
