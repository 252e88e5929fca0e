// Command go-client plays the named scenarios with franz-go. README.md tells the contract with the runner.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"runtime/debug"
	"strings"
	"time"
)

var bootstrap = os.Getenv("COMPAT_BOOTSTRAP")

// The same as a list.
var seeds = strings.Split(bootstrap, ",")

// The largest value of a lone record whose batch is exactly 1048588 bytes, Kafka's default max.message.bytes.
const largestValueBytes = 1048516

type event struct {
	Scenario string  `json:"scenario"`
	Result   string  `json:"result,omitempty"`
	Reason   string  `json:"reason,omitempty"`
	Seconds  float64 `json:"seconds,omitempty"`
}

func (e event) emit() {
	line, _ := json.Marshal(e)
	fmt.Println(string(line))
}

// failure is what a failed check panics with; playOne turns it into the scenario's reason.
type failure string

func fail(format string, arguments ...any) {
	panic(failure(fmt.Sprintf(format, arguments...)))
}

func check(condition bool, format string, arguments ...any) {
	if !condition {
		fail(format, arguments...)
	}
}

func must(err error, what string) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

func equal(got, expected any, what string) {
	if !reflect.DeepEqual(got, expected) {
		fail("%s: expected %.300s, got %.300s", what, fmt.Sprint(expected), fmt.Sprint(got))
	}
}

func refused(err, expected error, what string) {
	if !errors.Is(err, expected) {
		fail("%s: expected %v, got %v", what, expected, err)
	}
}

// until polls the condition until it holds.
func until(timeout time.Duration, what func() string, condition func() bool) {
	deadline := time.Now().Add(timeout)
	for !condition() {
		if time.Now().After(deadline) {
			fail("not within %v: %s", timeout, what())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func saying(text string) func() string { return func() string { return text } }

// control asks the runner for /kill9, /start or /kill9-and-restart and returns when that is done.
func control(step string) error {
	client := http.Client{Timeout: 80 * time.Second}
	answer, err := client.Post(os.Getenv("COMPAT_CONTROL")+step, "text/plain", nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if text, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusOK {
		return fmt.Errorf("control %s: %s", step, text)
	}
	return nil
}

func playOne(scenario func()) (result, reason string) {
	defer func() {
		if caught := recover(); caught != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s\n", caught, debug.Stack())
			result, reason = "fail", fmt.Sprint(caught)
		}
	}()
	scenario()
	return "pass", ""
}

// play plays the scenarios that the runner asks for and this client knows, in the runner's order.
func play(table map[string]func()) {
	for _, name := range strings.Split(os.Getenv("COMPAT_SCENARIOS"), ",") {
		scenario, known := table[name]
		if !known {
			continue
		}
		event{Scenario: name}.emit()
		started := time.Now()
		result, reason := playOne(scenario)
		event{name, result, reason, float64(time.Since(started).Milliseconds()) / 1000}.emit()
	}
}
