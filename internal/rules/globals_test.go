package rules

import (
	"fmt"
	"go/ast"
	"go/token"
	"path/filepath"
	"testing"
)

// A package's variables are constants that Go cannot write as such (tables,
// sentinel errors, compiled patterns). One that is changed is shared by every
// test and every daemon of the process. This finds the changes that can be seen
// in the text: an assignment, an increment, a delete, an address taken, and
// variables whose type only makes sense when it changes.
func globalFaults(pkg []file) []string {
	var found []string
	globals := map[string]bool{}
	declared := map[*ast.ValueSpec]bool{}
	for _, f := range pkg {
		for _, decl := range f.ast.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			for _, spec := range gen.Specs {
				v, ok := spec.(*ast.ValueSpec)
				if !ok {
					continue
				}
				declared[v] = true
				for _, name := range v.Names {
					if name.Name != "_" {
						globals[name.Name] = true
					}
				}
				if sel, ok := v.Type.(*ast.SelectorExpr); ok {
					if x, ok := sel.X.(*ast.Ident); ok && (x.Name == "sync" || x.Name == "atomic") {
						found = append(found, fmt.Sprintf("%s: package variable of type %s.%s", f.at(v), x.Name, sel.Sel.Name))
					}
				}
			}
		}
	}
	// global gives the package variable at the root of an expression. An
	// identifier that the file does not resolve is one of another file.
	global := func(e ast.Expr) string {
		for {
			switch x := e.(type) {
			case *ast.IndexExpr:
				e = x.X
			case *ast.SelectorExpr:
				e = x.X
			case *ast.StarExpr:
				e = x.X
			case *ast.ParenExpr:
				e = x.X
			case *ast.Ident:
				if !globals[x.Name] {
					return ""
				}
				if x.Obj == nil {
					return x.Name
				}
				if v, ok := x.Obj.Decl.(*ast.ValueSpec); ok && declared[v] {
					return x.Name
				}
				return ""
			default:
				return ""
			}
		}
	}
	for _, f := range pkg {
		report := func(n ast.Node, e ast.Expr, what string) {
			if name := global(e); name != "" {
				found = append(found, fmt.Sprintf("%s: package variable %s is %s", f.at(n), name, what))
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					for _, left := range n.Lhs {
						report(n, left, "assigned")
					}
				}
			case *ast.IncDecStmt:
				report(n, n.X, "changed")
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					report(n, n.X, "lent by its address")
				}
			case *ast.CallExpr:
				if fn, ok := n.Fun.(*ast.Ident); ok && (fn.Name == "delete" || fn.Name == "clear") && len(n.Args) > 0 {
					report(n, n.Args[0], "changed")
				}
			}
			return true
		})
	}
	return found
}

func TestGlobals(t *testing.T) {
	packages := map[string][]file{}
	for _, f := range sourceFiles(t) {
		if !f.test {
			packages[filepath.Dir(f.path)] = append(packages[filepath.Dir(f.path)], f)
		}
	}
	for _, pkg := range packages {
		for _, fault := range globalFaults(pkg) {
			t.Error(fault)
		}
	}
}

func TestGlobalFaults(t *testing.T) {
	tests := []struct {
		name, text string
		bad        bool
	}{
		{"table", `var units = []int{1}; func f() int { return units[0] }`, false},
		{"sentinel", `var ErrGone = f()`, false},
		{"assigned", `var n int; func f() { n = 1 }`, true},
		{"counted", `var n int; func f() { n++ }`, true},
		{"element set", `var m = map[int]int{}; func f() { m[1] = 2 }`, true},
		{"element of field set", `var s struct{ m []int }; func f() { s.m[1] = 2 }`, true},
		{"element deleted", `var m = map[int]int{}; func f() { delete(m, 1) }`, true},
		{"address", `var n int; func f() *int { return &n }`, true},
		{"lock", `var mu sync.Mutex`, true},
		{"a check at compile time", `var _ I = T{}; func f() { _ = g() }`, false},
		{"shadowed by a parameter", `var n int; func f(n int) { n = 1 }`, false},
		{"shadowed by a local", `var n int; func f() { n := 0; n++ }`, false},
		{"other file's variable", `func f() { elsewhere = 1 }`, true},
		{"a field of a parameter", `var n int; func f(s *T) { s.n = 1 }`, false},
	}
	other, err := parse("jobs/b.go", "package jobs\nvar elsewhere int")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := parse("jobs/a.go", "package jobs\n"+tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := globalFaults([]file{f, other}); (len(got) > 0) != tt.bad {
				t.Errorf("faults = %q, want some: %v", got, tt.bad)
			}
		})
	}
}
