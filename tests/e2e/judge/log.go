package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8 // of a tile: 256 hashes

type proofs struct {
	Inclusion []struct {
		Index int64
		Entry []byte
		Proof [][]byte
	}
	Consistency []struct {
		Size  int64
		Root  []byte
		Proof [][]byte
	}
}

func judgeLog(folder string) (string, error) {
	tree, cosigners, err := readHead(folder)
	if err != nil {
		return "", err
	}
	var shown proofs
	octets, err := os.ReadFile(filepath.Join(folder, "proofs.json"))
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(octets, &shown); err != nil {
		return "", err
	}
	hashes, err := readEntries(folder, tree)
	if err != nil {
		return "", err
	}
	tiles, err := checkTiles(folder, tree, hashes)
	if err != nil {
		return "", err
	}
	reader := tlog.TileHashReader(tree, folderReader{folder})
	mutants := 0
	for _, one := range shown.Inclusion {
		var proof tlog.RecordProof
		if proof, err = hashesOf(one.Proof); err != nil {
			return "", err
		}
		leaf := tlog.RecordHash(one.Entry)
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, one.Index, leaf); err != nil {
			return "", fmt.Errorf("inclusion of %d: %v", one.Index, err)
		}
		ours, err := tlog.ProveRecord(tree.N, one.Index, reader)
		if err != nil || !same(ours, proof) {
			return "", fmt.Errorf("inclusion of %d: from the tiles there is another proof: %v", one.Index, err)
		}
		for i := range proof {
			mutants++
			proof[i][i%tlog.HashSize] ^= 1
			if tlog.CheckRecord(proof, tree.N, tree.Hash, one.Index, leaf) == nil {
				return "", fmt.Errorf("inclusion of %d: with another hash it is as good", one.Index)
			}
			proof[i][i%tlog.HashSize] ^= 1
		}
	}
	for _, one := range shown.Consistency {
		var proof tlog.TreeProof
		if proof, err = hashesOf(one.Proof); err != nil {
			return "", err
		}
		root, err := hashOf(one.Root)
		if err != nil {
			return "", err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, one.Size, root); err != nil {
			return "", fmt.Errorf("consistency with %d: %v", one.Size, err)
		}
		ours, err := tlog.ProveTree(tree.N, one.Size, reader)
		if err != nil || !same(ours, proof) {
			return "", fmt.Errorf("consistency with %d: from the tiles there is another proof: %v", one.Size, err)
		}
		for i := range proof {
			mutants++
			proof[i][i%tlog.HashSize] ^= 1
			if tlog.CheckTree(proof, tree.N, tree.Hash, one.Size, root) == nil {
				return "", fmt.Errorf("consistency with %d: with another hash it is as good", one.Size)
			}
			proof[i][i%tlog.HashSize] ^= 1
		}
		if then, err := tlog.TreeHash(one.Size, hashes); err != nil || then != root {
			return "", fmt.Errorf("consistency with %d: the entries had another root: %v", one.Size, err)
		}
	}
	return fmt.Sprintf("size %d, cosigners %d, tiles %d, inclusion %d, consistency %d, mutants refused %d",
		tree.N, cosigners, tiles, len(shown.Inclusion), len(shown.Consistency), mutants), nil
}

// readHead opens the checkpoint: the first of the keys is the log's, the others are witnesses, and all must have signed.
func readHead(folder string) (tree tlog.Tree, cosigners int, err error) {
	keys, err := os.ReadFile(filepath.Join(folder, "keys"))
	if err != nil {
		return tree, 0, err
	}
	var verifiers []note.Verifier
	for _, vkey := range strings.Fields(string(keys)) {
		verifier, err := newVerifier(vkey)
		if err != nil {
			return tree, 0, err
		}
		verifiers = append(verifiers, verifier)
	}
	octets, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	if err != nil {
		return tree, 0, err
	}
	opened, err := note.Open(octets, note.VerifierList(verifiers...))
	if err != nil {
		return tree, 0, err
	}
	if len(opened.Sigs) != len(verifiers) {
		return tree, 0, fmt.Errorf("%d of %d keys have signed the checkpoint", len(opened.Sigs), len(verifiers))
	}
	origin, rest, _ := strings.Cut(opened.Text, "\n")
	if origin != verifiers[0].Name() {
		return tree, 0, fmt.Errorf("the origin %q is not the name of the log's key", origin)
	}
	// The Go checksum database has an origin of its own before the same two lines.
	tree, err = tlog.ParseTree([]byte("go.sum database tree\n" + rest))
	return tree, len(verifiers) - 1, err
}

// memory has the hashes of a tree as tlog numbers them.
type memory []tlog.Hash

func (m memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(m)) {
			return nil, fmt.Errorf("there is no hash %d", index)
		}
		found[i] = m[index]
	}
	return found, nil
}

// readEntries rebuilds the tree from the entry bundles alone.
func readEntries(folder string, tree tlog.Tree) (memory, error) {
	var hashes memory
	for first := int64(0); first < tree.N; first += 1 << height {
		width := tree.N - first
		if width > 1<<height {
			width = 1 << height
		}
		path := "tile/entries/" + strings.TrimPrefix(tilePath(0, first>>height, int(width)), "tile/0/")
		octets, err := os.ReadFile(filepath.Join(folder, path))
		if err != nil {
			return nil, err
		}
		for i := int64(0); i < width; i++ {
			if len(octets) < 2 || len(octets) < 2+int(binary.BigEndian.Uint16(octets)) {
				return nil, fmt.Errorf("%s is cut short", path)
			}
			end := 2 + int(binary.BigEndian.Uint16(octets))
			more, err := tlog.StoredHashesForRecordHash(first+i, tlog.RecordHash(octets[2:end]), hashes)
			if err != nil {
				return nil, err
			}
			hashes, octets = append(hashes, more...), octets[end:]
		}
		if len(octets) != 0 {
			return nil, fmt.Errorf("%s is too long", path)
		}
	}
	root, err := tlog.TreeHash(tree.N, hashes)
	if err == nil && root != tree.Hash {
		err = fmt.Errorf("the entries have another root")
	}
	return hashes, err
}

// checkTiles compares every tile with what the entries make of it.
func checkTiles(folder string, tree tlog.Tree, hashes memory) (int, error) {
	count := 0
	tiles := tlog.NewTiles(height, 0, tree.N)
	for i, tile := range tiles {
		if i+1 < len(tiles) && tiles[i+1].L == tile.L && tiles[i+1].N == tile.N {
			continue // of a partial tile it names each width; a log has that of its size
		}
		count++
		ours, err := tlog.ReadTileData(tile, hashes)
		if err != nil {
			return 0, err
		}
		path := tilePath(tile.L, tile.N, tile.W)
		octets, err := os.ReadFile(filepath.Join(folder, path))
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(ours, octets) {
			return 0, fmt.Errorf("%s has other hashes than the entries", path)
		}
	}
	return count, nil
}

// folderReader gives tiles to tlog, which checks each against the root before it uses it.
type folderReader struct{ folder string }

func (r folderReader) Height() int                     { return height }
func (r folderReader) SaveTiles([]tlog.Tile, [][]byte) {}
func (r folderReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, len(tiles))
	for i, tile := range tiles {
		octets, err := os.ReadFile(filepath.Join(r.folder, tilePath(tile.L, tile.N, tile.W)))
		if err != nil {
			return nil, err
		}
		found[i] = octets
	}
	return found, nil
}

// tilePath is Go's path without the height, which tlog-tiles does not have.
func tilePath(level int, index int64, width int) string {
	path := tlog.Tile{H: height, L: level, N: index, W: width}.Path()
	return "tile/" + strings.TrimPrefix(path, fmt.Sprintf("tile/%d/", height))
}

func hashOf(octets []byte) (hash tlog.Hash, err error) {
	if len(octets) != tlog.HashSize {
		return hash, fmt.Errorf("a hash has %d octets", len(octets))
	}
	copy(hash[:], octets)
	return hash, nil
}

func hashesOf(all [][]byte) (hashes []tlog.Hash, err error) {
	for _, octets := range all {
		hash, err := hashOf(octets)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, hash)
	}
	return hashes, nil
}

func same(a, b []tlog.Hash) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
