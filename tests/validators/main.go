// Reads deployment files as the programs they are meant for read them, refuses what those would refuse, and prints what
// they understood as JSON.
//
//	validators compose deploy/compose/compose.yaml
//	validators kubernetes deploy/kubernetes/headwater.yaml …
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 3 {
		fail([]string{"usage: validators compose FILE | validators kubernetes FILE…"})
	}
	var understood any
	var problems []string
	switch os.Args[1] {
	case "compose":
		understood, problems = compose(os.Args[2])
	case "kubernetes":
		understood, problems = kubernetes(os.Args[2:])
	default:
		problems = []string{"unknown: " + os.Args[1]}
	}
	if len(problems) > 0 {
		fail(problems)
	}
	if err := json.NewEncoder(os.Stdout).Encode(understood); err != nil {
		fail([]string{err.Error()})
	}
}

func fail(problems []string) {
	for _, problem := range problems {
		fmt.Fprintln(os.Stderr, problem)
	}
	os.Exit(1)
}
