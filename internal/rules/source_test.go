package rules

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// root is the repository, seen from this package's folder.
const root = "../.."

// A file is one parsed Go file; path is relative to the repository.
type file struct {
	path string
	test bool
	fset *token.FileSet
	ast  *ast.File
}

// folder is the top-level folder the file is in.
func (f file) folder() string { return top(f.path) }

func top(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}

func (f file) imports() []string {
	var paths []string
	for _, spec := range f.ast.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

// at says where a node is, for a message.
func (f file) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.path, f.fset.Position(n.Pos()).Line)
}

// sourceFiles parses every Go file of the repository, whatever its build tags.
func sourceFiles(t *testing.T) []file {
	t.Helper()
	var files []file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			switch {
			case path == root:
				return nil
			case strings.HasPrefix(name, "."), name == "testdata", name == "bin", name == "build", name == "demo":
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f, err := parse(filepath.ToSlash(rel), string(text))
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("only %d Go files found: the test looks in the wrong place", len(files))
	}
	return files
}

func parse(path, text string) (file, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, path, text, parser.ParseComments)
	return file{path: path, test: strings.HasSuffix(path, "_test.go"), fset: fset, ast: tree}, err
}

// reserved names what only some folders may use, and why. Without a name it is the
// whole package.
var reserved = []struct {
	pkg, name string
	folders   []string // a prefix of the file's path
	why       string
}{
	{"os/exec", "", []string{"internal/command/", "targets/targettest/"}, "one package runs programs, so that argv, environment and stderr are guarded in one place; a suite for tests starts servers"},
	{"log", "", nil, "zerolog, handed in as a parameter"},
	{"log/slog", "", nil, "zerolog, handed in as a parameter"},
	{"time", "Now", []string{"cmd/", "e2e/", "scripts/"}, "the clock is a parameter: take Now func() time.Time"},
	{"time", "Since", []string{"cmd/", "e2e/", "scripts/"}, "it reads the clock; the clock is a parameter"},
	{"time", "Until", []string{"cmd/", "e2e/", "scripts/"}, "it reads the clock; the clock is a parameter"},
	{"context", "Background", []string{"cmd/", "e2e/", "scripts/"}, "a context comes from main, so that everything ends when it is told to"},
	{"context", "TODO", nil, "a context comes from main"},
	{"fmt", "Print", []string{"cmd/", "e2e/", "scripts/"}, "only commands print"},
	{"fmt", "Printf", []string{"cmd/", "e2e/", "scripts/"}, "only commands print"},
	{"fmt", "Println", []string{"cmd/", "e2e/", "scripts/"}, "only commands print"},
	{"os", "Stdout", []string{"cmd/", "e2e/", "scripts/"}, "only commands print"},
	{"os", "Stderr", []string{"cmd/", "e2e/", "scripts/"}, "only commands print"},
	{"os", "Exit", []string{"cmd/", "e2e/", "scripts/"}, "only main ends the program; deferred clean-up would be lost"},
}

func allowedIn(folders []string, path string) bool {
	for _, folder := range folders {
		if strings.HasPrefix(path, folder) {
			return true
		}
	}
	return false
}

// faults returns what one non-test file does that it may not.
func faults(f file) []string {
	var found []string
	names := map[string]string{} // local name of an import -> its path
	for _, spec := range f.ast.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := path[strings.LastIndex(path, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name == "." {
			found = append(found, f.at(spec)+": dot import: a reader cannot tell where a name comes from")
		}
		names[name] = path
		for _, r := range reserved {
			if r.name == "" && r.pkg == path && !allowedIn(r.folders, f.path) {
				found = append(found, fmt.Sprintf("%s: import %q: %s", f.at(spec), path, r.why))
			}
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				found = append(found, f.at(n)+": func init: nothing may happen before main")
			}
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok {
				return true
			}
			for _, r := range reserved {
				if r.name == n.Sel.Name && r.pkg == names[x.Name] && !allowedIn(r.folders, f.path) {
					found = append(found, fmt.Sprintf("%s: %s.%s: %s", f.at(n), x.Name, n.Sel.Name, r.why))
				}
			}
		}
		return true
	})
	return append(found, directiveFaults(f)...)
}

// directiveFaults looks at comments that switch a linter off or put work off.
func directiveFaults(f file) []string {
	var found []string
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			if rest, off := strings.CutPrefix(c.Text, "//nolint"); off {
				rule, reason, _ := strings.Cut(rest, " // ")
				if !strings.HasPrefix(rule, ":") || strings.TrimSpace(reason) == "" {
					found = append(found, f.at(c)+": nolint names no rule or gives no reason")
				}
			}
			if strings.Contains(c.Text, "TO"+"DO") || strings.Contains(c.Text, "FIX"+"ME") {
				found = append(found, f.at(c)+": work put off belongs in an issue, not in a comment")
			}
		}
	}
	return found
}

func TestSource(t *testing.T) {
	for _, f := range sourceFiles(t) {
		if f.test {
			for _, fault := range directiveFaults(f) {
				t.Error(fault)
			}
			continue
		}
		for _, fault := range faults(f) {
			t.Error(fault)
		}
	}
}

func TestFaults(t *testing.T) {
	tests := []struct {
		name, path, text, want string
	}{
		{"exec", "jobs/a.go", "package jobs\nimport \"os/exec\"\nvar _ = exec.Command", `jobs/a.go:2: import "os/exec"`},
		{"exec in its place", "internal/command/a.go", "package command\nimport \"os/exec\"\nvar _ = exec.Command", ""},
		{"exec in a neighbour", "internal/commander/a.go", "package c\nimport \"os/exec\"\nvar _ = exec.Command", `import "os/exec"`},
		{"clock", "jobs/a.go", "package jobs\nimport \"time\"\nfunc f() { time.Now() }", "jobs/a.go:3: time.Now"},
		{"clock as a value, renamed", "jobs/a.go", "package jobs\nimport clock \"time\"\nvar now = clock.Now", "clock.Now"},
		{"clock in cmd", "cmd/saoluu/a.go", "package main\nimport \"time\"\nvar now = time.Now", ""},
		{"another package's Now", "jobs/a.go", "package jobs\nimport \"saoluu/internal/time2\"\nvar now = time2.Now", ""},
		{"a field named Now", "jobs/a.go", "package jobs\nimport \"time\"\ntype r struct{ Now func() time.Time }\nfunc (x r) f() { x.Now() }", ""},
		{"context", "jobs/a.go", "package jobs\nimport \"context\"\nvar c = context.Background()", "context.Background"},
		{"context put off", "cmd/saoluu/a.go", "package main\nimport \"context\"\nvar c = context.TODO()", "context.TODO"},
		{"init", "jobs/a.go", "package jobs\nfunc init() {}", "func init"},
		{"a method named init", "jobs/a.go", "package jobs\ntype r struct{}\nfunc (r) init() {}", ""},
		{"printing", "jobs/a.go", "package jobs\nimport \"fmt\"\nfunc f() { fmt.Println() }", "fmt.Println"},
		{"printing to a writer", "jobs/a.go", "package jobs\nimport \"fmt\"\nfunc f() { fmt.Fprintln(nil) }", ""},
		{"dot import", "jobs/a.go", "package jobs\nimport . \"time\"\nvar now = Now", "dot import"},
		{"bare nolint", "jobs/a.go", "package jobs\n\n//nolint\nfunc f() {}", "nolint"},
		{"nolint without a reason", "jobs/a.go", "package jobs\n\nfunc f() {} //nolint:errcheck", "nolint"},
		{"nolint with a reason", "jobs/a.go", "package jobs\n\nfunc f() {} //nolint:errcheck // closed for reading only", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := parse(tt.path, tt.text)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(faults(f), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("faults = %q, want %q", got, tt.want)
			}
		})
	}
}

// Each package says what it is for.
func TestPackageComments(t *testing.T) {
	has := map[string]bool{}
	for _, f := range sourceFiles(t) {
		if f.test {
			continue
		}
		dir := filepath.ToSlash(filepath.Dir(f.path))
		has[dir] = has[dir] || f.ast.Doc != nil && strings.TrimSpace(f.ast.Doc.Text()) != ""
	}
	for dir, commented := range has {
		if !commented {
			t.Errorf("package in %s has no package comment", dir)
		}
	}
}
