// Reads one Kubernetes object as JSON on stdin and prints, as JSON, how GitOps tools take it: `kstatus`, from Flux's own
// library, and with a Lua script as its argument `argo`, what that script returns where Argo CD runs it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	if err := tell(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func tell(scripts []string) error {
	object := map[string]any{}
	if err := json.NewDecoder(os.Stdin).Decode(&object); err != nil {
		return err
	}
	// through JSON again, as unstructured wants its numbers: int64
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(text); err != nil {
		return err
	}
	result, err := status.Compute(u)
	if err != nil {
		return err
	}
	told := map[string]any{"kstatus": result.Status.String(), "message": result.Message}
	for _, script := range scripts {
		if told["argo"], err = run(script, u.Object); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(told)
}

// run does what Argo CD does with a health check: no standard libraries but these, one second, one table back.
func run(script string, object map[string]any) (map[string]string, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	} {
		err := state.CallByParam(lua.P{Fn: state.NewFunction(open), NRet: 0, Protect: true}, lua.LString(name))
		if err != nil {
			return nil, err
		}
	}
	limit, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(limit)
	state.SetGlobal("obj", value(state, object))
	if err := state.DoFile(script); err != nil {
		return nil, err
	}
	table, isTable := state.Get(-1).(*lua.LTable)
	if !isTable {
		return nil, fmt.Errorf("%s returned a %s, not a table", script, state.Get(-1).Type())
	}
	told := map[string]string{}
	table.ForEach(func(key, member lua.LValue) { told[key.String()] = member.String() })
	return told, nil
}

func value(state *lua.LState, from any) lua.LValue {
	switch from := from.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, member := range from {
			table.RawSetString(key, value(state, member))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, member := range from {
			table.Append(value(state, member))
		}
		return table
	case string:
		return lua.LString(from)
	case bool:
		return lua.LBool(from)
	case int64:
		return lua.LNumber(from)
	case float64:
		return lua.LNumber(from)
	default:
		return lua.LNil
	}
}
