// A judge of logs that shares no line with waypost: the Go project's own packages for notes and trees.
//
//	judge log FOLDER       the folder is a log: keys, checkpoint, proofs.json, tile/
//	judge vectors FOLDER   cosignatures.json and policies.json get the verdicts they name
//
// It ends with 0 and says what it has seen, or with 1 and the first thing that is not so.
//
// It is built without modules, from Debian's golang-golang-x-mod-dev:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o judge .
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: judge log|vectors FOLDER")
		os.Exit(2)
	}
	var seen string
	var err error
	switch os.Args[1] {
	case "log":
		seen, err = judgeLog(os.Args[2])
	case "vectors":
		seen, err = judgeVectors(os.Args[2])
	default:
		err = fmt.Errorf("there is no %s", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(seen)
}
