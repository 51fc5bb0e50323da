package main

import (
	"github.com/compose-spec/compose-go/cli"
)

// compose loads a project as Compose does: its schema, its references between services, networks, volumes and secrets.
func compose(path string) (any, []string) {
	options, err := cli.NewProjectOptions([]string{path})
	if err != nil {
		return nil, []string{err.Error()}
	}
	project, err := cli.ProjectFromOptions(options)
	if err != nil {
		return nil, []string{err.Error()}
	}
	return project, nil
}
