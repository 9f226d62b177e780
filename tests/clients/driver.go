// Drives docs/clients/tidegate.go for tests/clients.rs; commands, options and outcomes as in driver.py. Built into one
// program with it, whose main never runs.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

func init() {
	if os.Args[1] == "vectors" {
		vectors()
	} else {
		session(os.Args[1], os.Args[2:])
	}
	os.Exit(0)
}

func hexed(data []byte) string {
	if len(data) == 0 {
		return "-"
	}
	return hex.EncodeToString(data)
}

// meaning is a frame in the words of vectors.txt; `other` for what this client skips.
func meaning(header uint16, payload []byte) (string, error) {
	u16 := func(at int) uint16 { return binary.BigEndian.Uint16(payload[at:]) }
	u32 := func(at int) uint32 { return binary.BigEndian.Uint32(payload[at:]) }
	switch {
	case header&(control|ext) == 0:
		return fmt.Sprintf("frame %04x %s", header, hexed(payload)), nil
	case header&control == 0:
		block, err := parseBlock(payload)
		if err != nil {
			return "", err
		}
		words := fmt.Sprintf("ext %04x", header)
		if block.status != 0 {
			words += fmt.Sprintf(" status %d", block.status)
		}
		if block.hasCorrelation {
			words += fmt.Sprintf(" id %016x", block.correlation)
		}
		for _, tag := range block.tags {
			words += fmt.Sprintf(" tag %d %s", tag.number, hexed(tag.value))
		}
		return words + " body " + hexed(payload[block.size:]), nil
	case header == ping:
		return "ping " + hexed(payload), nil
	case header == pong:
		return "pong " + hexed(payload), nil
	case header == errorFrame:
		text, err := parseText(payload, 2)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("error %d %s", u16(0), hexed([]byte(text))), nil
	case header == goaway:
		text, err := parseText(payload, 6)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("goaway %d %d %s", u16(0), u32(2), hexed([]byte(text))), nil
	case header == notice:
		text, err := parseText(payload, 4)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("notice %d %04x %s", u16(0), u16(2), hexed([]byte(text))), nil
	case header == welcome:
		said, err := parseWelcome(payload)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("welcome %d %d %d %s %s", said.Version, said.MaxPayload, said.Heartbeat.Milliseconds(),
			hexed([]byte(said.ServerID)), hexed([]byte(said.ClientID))), nil
	}
	return fmt.Sprintf("other %04x %s", header, hexed(payload)), nil
}

// chunks gives at most so many bytes a read, as a socket may.
type chunks struct {
	data []byte
	size int
}

func (c *chunks) Read(into []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	if len(into) > c.size {
		into = into[:c.size]
	}
	count := copy(into, c.data)
	c.data = c.data[count:]
	return count, nil
}

func vectors() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		limit, _ := strconv.ParseUint(words[1], 10, 64)
		size, _ := strconv.Atoi(words[2])
		stream, _ := hex.DecodeString(strings.TrimPrefix(words[3], "-"))
		if words[0] == "crc" {
			fmt.Printf("%08x\n", crc32.ChecksumIEEE(stream))
			continue
		}
		var found []string
		from, at := &chunks{stream, size}, 0
		for {
			header, payload, err := readFrame(from, limit, controlMax)
			if err == nil {
				at += 10 + len(payload)
				if words[0] == "raw" {
					found = append(found, fmt.Sprintf("%04x %s", header, hexed(payload)))
					continue
				}
				var said string
				if said, err = meaning(header, payload); err == nil {
					found = append(found, said)
					continue
				}
			}
			var fault *ProtocolError
			if errors.As(err, &fault) {
				found = append(found, "close "+fault.Reason)
			} else if rest := stream[at:]; len(rest) >= 6 {
				found = append(found, fmt.Sprintf("need_more %d", 10+binary.BigEndian.Uint32(rest[2:])))
			} else if len(rest) > 0 {
				found = append(found, "need_more 6")
			}
			break
		}
		fmt.Println(strings.Join(found, " | "))
	}
}

func outcome(body []byte, err error) string {
	var status *StatusError
	var ended *EndedError
	var fault *ProtocolError
	undone := map[bool]string{true: "undone", false: "unsure"}[NotProcessed(err)]
	switch {
	case err == nil:
		return "ok " + string(body)
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.As(err, &status):
		return fmt.Sprintf("status %d %s %s", status.Status, undone, status.Text)
	case errors.As(err, &ended) && ended.Goaway != nil:
		return fmt.Sprintf("ended goaway %d %s", ended.Goaway.Status, undone)
	case errors.As(err, &ended):
		return "ended eof " + undone
	case errors.As(err, &fault):
		return "fault " + fault.Reason
	}
	return "refused"
}

func session(address string, words []string) {
	options, timeout := Options{}, 20*time.Second
	for _, word := range words {
		key, value, isOption := strings.Cut(word, "=")
		number, _ := strconv.Atoi(value)
		switch {
		case !isOption:
		case key == "timeout":
			timeout = time.Duration(number) * time.Millisecond
		case key == "limit":
			options.MaxPayload = uint32(number)
		case key == "hello":
			options.Hello = true
		case key == "token":
			options.Token = value
		case key == "ping":
			options.PingAfter = time.Duration(number) * time.Millisecond
		}
	}
	inTime := func(act func(ctx context.Context) ([]byte, error)) string {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		return outcome(act(ctx))
	}
	var client *Client
	dialed := inTime(func(ctx context.Context) (_ []byte, err error) {
		client, err = Dial(ctx, address, options)
		return nil, err
	})
	if client == nil {
		fmt.Println(dialed)
		return
	}
	if said := client.Welcome(); said != nil {
		fmt.Println("welcome", said.Version, said.MaxPayload, said.Heartbeat.Milliseconds())
	}
	var sent []*Pending
	for _, word := range words {
		if strings.Contains(word, "=") {
			continue
		}
		parts := append(strings.SplitN(word, ":", 3), "", "")
		number, _ := strconv.Atoi(parts[1])
		request := Request{Route: uint16(number), Body: []byte(parts[2])}
		switch parts[0] {
		case "ask":
			fmt.Println(inTime(func(ctx context.Context) ([]byte, error) { return client.Do(ctx, request) }))
		case "send", "csend", "dsend", "fill":
			if parts[0] == "fill" {
				size, _ := strconv.Atoi(parts[2])
				request.Body = bytes.Repeat([]byte("."), size)
			}
			request.Correlate = parts[0] == "csend"
			if parts[0] == "dsend" {
				request.Deadline = 1 // a nanosecond is no whole millisecond
			}
			failed := inTime(func(ctx context.Context) ([]byte, error) {
				pending, err := client.Send(ctx, request)
				if err == nil {
					sent = append(sent, pending)
				}
				return nil, err
			})
			if failed != "ok " {
				fmt.Println("unsent", failed)
			}
		case "oneway":
			request.OneWay = true
			_ = inTime(func(ctx context.Context) ([]byte, error) { return client.Do(ctx, request) })
		case "wait":
			for _, pending := range sent {
				fmt.Println(inTime(pending.Wait))
			}
			sent = nil
		case "pipe":
			pipe(client, request.Route, parts[2], timeout)
		case "big":
			size, _ := strconv.Atoi(parts[2])
			request.Body = bytes.Repeat([]byte("."), size)
			fmt.Println(inTime(func(ctx context.Context) ([]byte, error) {
				body, err := client.Do(ctx, request)
				return []byte(strconv.Itoa(len(body))), err
			}))
		case "ping":
			ponged := inTime(func(ctx context.Context) ([]byte, error) {
				_, err := client.Ping(ctx)
				return nil, err
			})
			fmt.Println(strings.Replace(ponged, "ok ", "pong", 1))
		case "poll":
			until := time.Now().Add(time.Duration(number) * time.Millisecond)
			for client.Goaway() == nil && time.Now().Before(until) {
				time.Sleep(10 * time.Millisecond)
			}
		case "told":
			fmt.Println("goaway", client.Goaway().Status)
		case "stdin":
			fmt.Println("ready")
			_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		case "close":
			_ = inTime(func(ctx context.Context) ([]byte, error) { return nil, client.Close(ctx) })
			fmt.Println("closed")
		}
	}
}

func pipe(client *Client, route uint16, numbers string, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var count, size, right int
	_, _ = fmt.Sscanf(numbers, "%d:%d", &count, &size)
	var bodies [][]byte
	var sent []*Pending
	for number := 0; number < count; number++ {
		body := bytes.Repeat([]byte("."), size)
		copy(body, fmt.Sprintf("%d ", number))
		pending, err := client.Send(ctx, Request{Route: route, Body: body})
		if err != nil {
			fmt.Println(outcome(nil, err))
			return
		}
		bodies, sent = append(bodies, body), append(sent, pending)
	}
	for number, pending := range sent {
		if body, err := pending.Wait(ctx); err == nil && bytes.Equal(body, bodies[number]) {
			right++
		}
	}
	fmt.Println(right, "in order")
}
