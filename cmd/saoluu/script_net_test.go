package main

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"saoluu/targets/targettest"
)

// netCommand puts a network of its own (toxiproxy) between the script and its S3
// service, and spoils it:
//
//	net start          $S3 leads through the proxy from now on
//	net slow RATE      so many KiB a second upwards
//	net reset BYTES    every connection is cut after so many bytes upwards
//	net cut AFTER      after a pause, nothing goes through any more
//	net heal           everything goes through
//	net tenths FILE    nine backups of new data in FILE, cut at each tenth of the upload
func netCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: net start|slow|reset|cut|heal")
	}
	if args[0] == "start" {
		api, port := startProxy(ts)
		ts.Setenv("NETAPI", api)
		real := strings.TrimPrefix(ts.Getenv("S3"), "https://")
		ask(ts, http.MethodPost, "/proxies", fmt.Sprintf(`{"name":"s3","listen":"127.0.0.1:%d","upstream":"%s","enabled":true}`, port, real))
		replace(ts, strings.NewReplacer(ts.Getenv("S3"), fmt.Sprintf("https://127.0.0.1:%d", port)))
		return
	}
	switch args[0] {
	case "slow":
		ask(ts, http.MethodPost, "/proxies/s3/toxics", fmt.Sprintf(`{"name":"slow","type":"bandwidth","stream":"upstream","attributes":{"rate":%s}}`, args[1]))
	case "reset":
		ask(ts, http.MethodPost, "/proxies/s3/toxics", fmt.Sprintf(`{"name":"reset","type":"limit_data","stream":"upstream","attributes":{"bytes":%s}}`, args[1]))
	case "cut":
		pause, err := time.ParseDuration(args[1])
		ts.Check(err)
		time.AfterFunc(pause, func() {
			if answer, err := http.Post(ts.Getenv("NETAPI")+"/proxies/s3", "application/json", strings.NewReader(`{"enabled":false}`)); err == nil {
				answer.Body.Close()
			}
		})
	case "heal":
		ask(ts, http.MethodPost, "/reset", "") // all toxics away, all proxies on
	case "tenths":
		tenths(ts, args[1])
	default:
		ts.Fatalf("unknown trouble %q", args[0])
	}
}

// tenths runs backups of 4 MB that take 4 s to upload and cuts the line in between.
// Each must fail, and be told.
func tenths(ts *testscript.TestScript, file string) {
	for i := 1; i <= 9; i++ {
		data := make([]byte, 4<<20)
		_, err := rand.Read(data)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(file), data, 0o600))
		netCommand(ts, false, []string{"heal"})
		netCommand(ts, false, []string{"slow", "1024"})
		netCommand(ts, false, []string{"cut", fmt.Sprintf("%dms", 400*i)})
		if err := ts.Exec("saoluu", "backup", "tree"); err == nil {
			ts.Fatalf("cut at %d tenths of the upload, and the backup is good", i)
		}
	}
	netCommand(ts, false, []string{"heal"})
}

func startProxy(ts *testscript.TestScript) (api string, port int) {
	t := scriptT{ts}
	at := targettest.StartToxiproxy(t)
	return "http://" + at.Address, targettest.FreePort(t)
}

func ask(ts *testscript.TestScript, method, path, body string) {
	request, err := http.NewRequest(method, ts.Getenv("NETAPI")+path, strings.NewReader(body))
	ts.Check(err)
	answer, err := http.DefaultClient.Do(request)
	ts.Check(err)
	defer answer.Body.Close()
	if answer.StatusCode >= http.StatusBadRequest {
		ts.Fatalf("toxiproxy: %s %s: %s", method, path, answer.Status)
	}
}
