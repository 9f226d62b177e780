// SPDX-License-Identifier: MIT OR Apache-2.0

// A client of tidegate servers in one file, to be copied: Go 1.19 or later and its standard library. To use it as a
// package, change the package's name and delete main.
//
//	client, err := Dial(ctx, "127.0.0.1:7411", Options{})
//	reply, err := client.Do(ctx, Request{Route: 1, Body: []byte("hello")})   // one request, one reply
//	pending, err := client.Send(ctx, Request{Route: 1, Body: body})          // many, before any reply is awaited
//	reply, err = pending.Wait(ctx)
//
// Any goroutine may use a Client. One goroutine reads and one writes, so pipelining never locks up; every length is
// checked before memory is taken and every CRC before a byte is believed; PING is answered at any time. A failed
// request is a *StatusError, a lost connection an *EndedError, a damaged one a *ProtocolError, a timeout the context's
// error; NotProcessed tells whether the same request may safely be sent again.
//
// It never reconnects or retries by itself, and has no TLS, topics, or text lines.
// From the shell: go run tidegate.go 127.0.0.1:7411 --route 1 hello. The protocol: docs/PROTOCOL.md.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

const (
	ext, control, routeMax = 0x8000, 0x4000, 0x3fff

	ping, pong, hello, welcome      = 0x4000, 0x4001, 0x4002, 0x4003
	errorFrame, goaway, notice      = 0x4004, 0x4005, 0x400c
	subscribe, unsubscribe, publish = 0x4006, 0x4007, 0x4008

	blockMax   = 1020    // bytes that a payload with an extension block may have beyond the limit on bodies
	controlMax = 4096    // bytes of a control frame's payload in front of WELCOME
	queueMax   = 256     // frames that may wait to be written: while so many do, Send waits
	openMax    = 65_536  // requests that may be open: beyond it Send fails
	writeBytes = 1 << 16 // small frames are written together up to so much
)

// Statuses that a program looks at. Codes from 256 on are the application's own.
const (
	StatusProtocol, StatusUnauthenticated, StatusOverloaded, StatusUnavailable = 1, 2, 5, 6
	StatusDeadlineExceeded, StatusDraining, StatusIdle, StatusTooLarge         = 8, 9, 13, 14
	StatusUnsupported                                                          = 15
)

var statusNames = strings.Fields(`OK PROTOCOL UNAUTHENTICATED FORBIDDEN NO_ROUTE OVERLOADED UNAVAILABLE
	OUTCOME_UNKNOWN DEADLINE_EXCEEDED DRAINING INTERNAL SLOW_CONSUMER REPLACED IDLE TOO_LARGE UNSUPPORTED`)

// StatusError is the server's answer to a request that failed. The connection stays.
type StatusError struct {
	Status     uint16
	Text       string
	RetryAfter time.Duration // 0 if the server did not say
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s (%d): %s", statusName(e.Status), e.Status, e.Text)
}

// Goaway is why the server ends a connection, and how long to wait before the next one.
type Goaway struct {
	Status         uint16
	ReconnectAfter time.Duration
	Text           string
}

// EndedError says that the connection ended before the reply came. Goaway is nil if the server said nothing.
type EndedError struct {
	Goaway       *Goaway
	Cause        error
	notProcessed bool
}

func (e *EndedError) Error() string {
	fate := "whether the request was processed is unknown"
	if e.notProcessed {
		fate = "the request was not processed"
	}
	if e.Goaway == nil {
		return fmt.Sprintf("the connection ended: %v; %s", e.Cause, fate)
	}
	return fmt.Sprintf("the server ended the connection: %s: %s; %s", statusName(e.Goaway.Status), e.Goaway.Text, fate)
}

var errEnded = errors.New("before the request was sent")

func (e *EndedError) Unwrap() error { return e.Cause }

// ProtocolError says that what came is no protocol: damaged, over a limit, or from no tidegate server. Reason is one of
// "Why a connection ends" in docs/PROTOCOL.md, or bad_reply: a reply to no request.
type ProtocolError struct{ Reason, Text string }

func (e *ProtocolError) Error() string { return e.Text }

// NotProcessed tells whether this error promises that nothing was done, so that the request may be sent again.
func NotProcessed(err error) bool {
	var status *StatusError
	var ended *EndedError
	if errors.As(err, &status) {
		switch status.Status {
		case StatusOverloaded, StatusUnavailable, StatusDeadlineExceeded, StatusDraining:
			return true
		}
		return false
	}
	return errors.As(err, &ended) && ended.notProcessed
}

func statusName(status uint16) string {
	switch {
	case int(status) < len(statusNames):
		return statusNames[status]
	case status < 256:
		return "INTERNAL"
	}
	return "APPLICATION"
}

func encode(header uint16, parts ...[]byte) []byte {
	frame := make([]byte, 6, 64)
	for _, part := range parts {
		frame = append(frame, part...)
	}
	binary.BigEndian.PutUint16(frame, header)
	binary.BigEndian.PutUint32(frame[2:], uint32(len(frame)-6))
	return binary.BigEndian.AppendUint32(frame, crc32.ChecksumIEEE(frame))
}

// readFrame reads one whole frame. io.EOF is an end between frames, io.ErrUnexpectedEOF one within a frame.
func readFrame(from io.Reader, maxPayload, maxControl uint64) (uint16, []byte, error) {
	var head [6]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return 0, nil, err
	}
	header, length := binary.BigEndian.Uint16(head[:]), uint64(binary.BigEndian.Uint32(head[2:]))
	limit := maxPayload
	if header&control != 0 {
		limit = maxControl
	} else if header&ext != 0 {
		limit += blockMax
	}
	if length > limit {
		text := fmt.Sprintf("a frame of %d bytes is over the limit of %d", length, limit)
		return 0, nil, &ProtocolError{"too_large", text}
	}
	rest := make([]byte, length+4)
	if _, err := io.ReadFull(from, rest); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	payload := rest[:length:length]
	sum := crc32.Update(crc32.ChecksumIEEE(head[:]), crc32.IEEETable, payload)
	if sum != binary.BigEndian.Uint32(rest[length:]) {
		return 0, nil, &ProtocolError{"bad_crc", "a frame's CRC is wrong: the stream is damaged"}
	}
	return header, payload, nil
}

type tag struct {
	number byte
	value  []byte
}

func parseTags(data []byte, reason string) ([]tag, error) {
	var tags []tag
	for len(data) > 0 {
		if data[0] == 0 { // padding
			data = data[1:]
			continue
		}
		if len(data) < 2 || len(data) < 2+int(data[1]) {
			return nil, &ProtocolError{reason, "a tag is cut"}
		}
		end := 2 + int(data[1])
		tags = append(tags, tag{data[0], data[2:end]})
		data = data[end:]
	}
	return tags, nil
}

// block is the front of a payload whose header has ext: what a client looks at.
type block struct {
	size           int
	status         uint16
	hasCorrelation bool
	correlation    uint64
	tags           []tag
}

func parseBlock(payload []byte) (block, error) {
	bad := func(text string) (block, error) { return block{}, &ProtocolError{"bad_extension", text} }
	if len(payload) == 0 || payload[0] == 0 || 4*int(payload[0]) > len(payload) {
		return bad("an extension block is longer than its payload, or has no length")
	}
	found := block{size: 4 * int(payload[0]), status: binary.BigEndian.Uint16(payload[2:])}
	flags, fieldsEnd := payload[1], 4
	for bit, size := range [3]int{8, 4, 28} {
		if flags&(1<<bit) != 0 {
			fieldsEnd += size
		}
	}
	if fieldsEnd > found.size {
		return bad("an extension block is shorter than its fields")
	}
	if found.hasCorrelation = flags&1 != 0; found.hasCorrelation {
		found.correlation = binary.BigEndian.Uint64(payload[4:])
	}
	if flags&4 != 0 && (payload[fieldsEnd-3]|payload[fieldsEnd-2]|payload[fieldsEnd-1]) != 0 {
		return bad("a trace does not end with three zeros")
	}
	if flags&0x70 != 0 { // reserved: what lies behind the known fields can't be read, the rest can
		return found, nil
	}
	if flags&0x80 == 0 && fieldsEnd != found.size {
		return bad("bytes behind the last field of an extension block")
	}
	var err error
	if found.tags, err = parseTags(payload[fieldsEnd:found.size], "bad_extension"); err != nil {
		return block{}, err
	}
	for _, tag := range found.tags {
		if tag.number == 1 && len(tag.value) != 4 || tag.number == 2 && len(tag.value) != 2 {
			return bad("a tag has the wrong size")
		}
	}
	return found, nil
}

// parseText reads the text behind the numbers of ERROR, GOAWAY and NOTICE.
func parseText(payload []byte, numbers int) (string, error) {
	if len(payload) < numbers || !utf8.Valid(payload[numbers:]) {
		return "", &ProtocolError{"bad_control", "a control frame is too short, or its text is not UTF-8"}
	}
	return string(payload[numbers:]), nil
}

// Welcome is what the server says of itself and of this client.
type Welcome struct {
	Version            byte
	MaxPayload         uint32 // bytes of a request's body
	Heartbeat          time.Duration
	ServerID, ClientID string
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func parseWelcome(payload []byte) (*Welcome, error) {
	var ids [2]string
	bad := &ProtocolError{"bad_control", "WELCOME is too short, or has an id that is none"}
	at := 10
	for number := range ids {
		if at >= len(payload) || at+1+int(payload[at]) > len(payload) {
			return nil, bad
		}
		end := at + 1 + int(payload[at])
		if ids[number] = string(payload[at+1 : end]); !idPattern.MatchString(ids[number]) {
			return nil, bad
		}
		at = end
	}
	if _, err := parseTags(payload[at:], "bad_control"); err != nil {
		return nil, err
	}
	heartbeat := time.Duration(binary.BigEndian.Uint32(payload[6:])) * time.Millisecond
	return &Welcome{payload[0], binary.BigEndian.Uint32(payload[2:]), heartbeat, ids[0], ids[1]}, nil
}

// Options of a connection; the zero value is a plain client.
type Options struct {
	Hello      bool          // say HELLO and wait for WELCOME
	Token      string        // what proves who the client is; implies Hello
	ClientID   string        // what the client calls itself; implies Hello
	MaxPayload uint32        // bytes of a reply's body that are taken; 0 is 2 MiB
	PingAfter  time.Duration // of the server's silence; after twice that the connection ends. 0 is never
}

// Request is what is sent. With Correlate its reply may overtake others; Deadline, rounded down to milliseconds, is what
// the server may take for it, 0 is no deadline; OneWay requests are never answered.
type Request struct {
	Route     uint16
	Body      []byte
	Correlate bool
	Deadline  time.Duration
	OneWay    bool
}

// Pending is a request that was sent.
type Pending struct {
	header uint16
	isSent atomic.Bool // the socket took the whole frame
	done   chan struct{}
	body   []byte
	err    error
}

// Wait gives the reply's body. It may be called again after the context's error.
func (p *Pending) Wait(ctx context.Context) ([]byte, error) {
	select {
	case <-p.done:
		return p.body, p.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *Pending) finish(body []byte, err error) {
	p.body, p.err = body, err
	close(p.done)
}

type outgoing struct {
	frame   []byte
	pending *Pending // nil for what is never answered
}

// Client is a connection.
type Client struct {
	conn     net.Conn
	options  Options
	out      chan outgoing
	beside   chan []byte   // PING and PONG, which must never make the reader wait
	stopping chan struct{} // closed when nothing more is to be written
	stopped  chan struct{} // closed when nothing more is written
	ended    chan struct{} // closed when err is set
	welcomed chan struct{}
	heard    atomic.Int64 // when a whole frame came, in nanoseconds since the epoch
	pongs    chan struct{}

	sending  sync.Mutex // held from a place among the slots to one in the queue
	isClosed bool

	mu         sync.Mutex
	slots      []*Pending
	correlated map[uint64]*Pending
	serial     uint64
	welcome    *Welcome
	goaway     *Goaway
	err        error
}

// Dial connects to HOST:PORT or unix:PATH, and says HELLO if the options want it. The context bounds the dialing only.
func Dial(ctx context.Context, address string, options Options) (*Client, error) {
	network := "tcp"
	if strings.HasPrefix(address, "unix:") {
		network, address = "unix", address[len("unix:"):]
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address) // TCP_NODELAY is Go's default
	if err != nil {
		return nil, err
	}
	if options.MaxPayload == 0 {
		options.MaxPayload = 2 << 20
	}
	c := &Client{conn: conn, options: options, out: make(chan outgoing, queueMax), stopping: make(chan struct{}),
		stopped: make(chan struct{}), ended: make(chan struct{}),
		beside: make(chan []byte, 8), welcomed: make(chan struct{}), pongs: make(chan struct{}, 1), correlated: make(map[uint64]*Pending)}
	c.heard.Store(time.Now().UnixNano())
	go c.write()
	go c.read()
	if options.PingAfter > 0 {
		go c.watch()
	}
	if !options.Hello && options.Token == "" && options.ClientID == "" {
		return c, nil
	}
	fixed := append([]byte{1, 0, byte(len(options.ClientID))}, options.ClientID...)
	fixed = binary.BigEndian.AppendUint16(fixed, uint16(len(options.Token)))
	fixed = append(append(fixed, options.Token...), 1, 4) // the tag max_receive
	if err = c.enqueue(ctx, outgoing{frame: encode(hello, binary.BigEndian.AppendUint32(fixed, options.MaxPayload))}); err == nil {
		select {
		case <-c.welcomed:
			return c, nil
		case <-c.ended:
			err = c.err
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	conn.Close()
	return nil, err
}

// Do sends a request and waits for the reply's body.
func (c *Client) Do(ctx context.Context, request Request) ([]byte, error) {
	pending, err := c.Send(ctx, request)
	if err != nil || request.OneWay {
		return nil, err
	}
	return pending.Wait(ctx)
}

// Send sends a request without waiting for its reply; it waits only for a place in the queue.
func (c *Client) Send(ctx context.Context, request Request) (*Pending, error) {
	if request.Route > routeMax {
		return nil, fmt.Errorf("route %d is over the limit of %d", request.Route, routeMax)
	}
	if max := c.Welcome(); max != nil && uint64(len(request.Body)) > uint64(max.MaxPayload) {
		return nil, fmt.Errorf("a body of %d bytes is over the server's limit of %d", len(request.Body), max.MaxPayload)
	}
	c.sending.Lock()
	defer c.sending.Unlock()
	pending := &Pending{header: request.Route, done: make(chan struct{})}
	frame, err := c.open(request, pending)
	if err != nil {
		return nil, err
	}
	return pending, c.enqueue(ctx, outgoing{frame, pending})
}

// open gives the request its place among those that wait for a reply, and its frame.
func (c *Client) open(request Request, pending *Pending) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.goaway != nil || c.isClosed {
		return nil, &EndedError{c.goaway, errEnded, true}
	}
	if len(c.slots)+len(c.correlated) >= openMax {
		return nil, fmt.Errorf("%d requests are open, which is the limit", openMax)
	}
	var flags byte
	var fields []byte
	c.serial++
	if request.Correlate {
		flags, fields = flags|1, binary.BigEndian.AppendUint64(fields, c.serial)
	}
	if request.Deadline > 0 {
		flags, fields = flags|2, binary.BigEndian.AppendUint32(fields, uint32(request.Deadline.Milliseconds()))
	}
	if request.OneWay {
		flags |= 8
	}
	frame := []byte(nil)
	if flags == 0 {
		frame = encode(request.Route, request.Body)
	} else {
		pending.header |= ext
		frame = encode(pending.header, []byte{byte(1 + len(fields)/4), flags, 0, 0}, fields, request.Body)
	}
	if request.OneWay {
		return frame, nil
	}
	if request.Correlate {
		c.correlated[c.serial] = pending
	} else {
		c.slots = append(c.slots, pending)
	}
	return frame, nil
}

// enqueue hands a frame to the writer. A frame whose place is taken but that can't be queued ends the connection.
func (c *Client) enqueue(ctx context.Context, next outgoing) error {
	select {
	case c.out <- next:
		return nil
	case <-c.ended:
		return &EndedError{c.goaway, errEnded, true}
	case <-ctx.Done():
		c.fail(ctx.Err())
		return ctx.Err()
	}
}

// Ping waits for the server's PONG, and tells how long it took.
func (c *Client) Ping(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	select {
	case c.beside <- encode(ping, []byte("ping")):
	case <-c.ended:
		return 0, c.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	select {
	case <-c.pongs:
		return time.Since(began), nil
	case <-c.ended:
		return 0, c.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Welcome is nil for a plain client.
func (c *Client) Welcome() *Welcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.welcome
}

// Goaway is nil until the server says that it goes.
func (c *Client) Goaway() *Goaway {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.goaway
}

// Close ends in order: what was sent leaves, and the stream is read to its end, for as long as the context allows.
func (c *Client) Close(ctx context.Context) error {
	c.sending.Lock()
	if !c.isClosed {
		c.isClosed = true
		close(c.out)
	}
	c.sending.Unlock()
	select {
	case <-c.ended:
	case <-ctx.Done():
		c.fail(ctx.Err())
	}
	return c.conn.Close()
}

// write puts queued frames together, and marks what the socket took.
func (c *Client) write() {
	defer close(c.stopped)
	for isOpen := true; isOpen; {
		var batch []byte
		var pending []*Pending
		var ends []int
		add := func(next outgoing) {
			batch = append(batch, next.frame...)
			pending, ends = append(pending, next.pending), append(ends, len(batch))
		}
		var next outgoing
		select {
		case next, isOpen = <-c.out:
			add(next)
		case frame := <-c.beside:
			add(outgoing{frame, nil})
		case <-c.stopping:
			return
		}
		for isMore := isOpen; isMore && len(batch) < writeBytes; {
			select {
			case next, isOpen = <-c.out:
				add(next)
				isMore = isOpen
			default:
				isMore = false
			}
		}
		count, err := c.conn.Write(batch)
		for index, end := range ends {
			if pending[index] != nil && end <= count {
				pending[index].isSent.Store(true)
			}
		}
		if err != nil {
			return // the server's last words may still be there to be read; the reader ends the connection
		}
	}
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

func (c *Client) read() {
	from := bufio.NewReaderSize(c.conn, writeBytes)
	maxControl := uint64(controlMax)
	for {
		header, payload, err := readFrame(from, uint64(c.options.MaxPayload), maxControl)
		if err == nil {
			c.heard.Store(time.Now().UnixNano())
			err = c.handle(header, payload)
		}
		if err != nil {
			c.fail(err)
			return
		}
		if header == welcome && uint64(c.options.MaxPayload)+512 > maxControl {
			maxControl = uint64(c.options.MaxPayload) + 512
		}
	}
}

func (c *Client) handle(header uint16, payload []byte) error {
	if header&control != 0 {
		return c.handleControl(header, payload)
	}
	if header&ext == 0 {
		return c.answerSlot(header, payload, nil)
	}
	block, err := parseBlock(payload)
	if err != nil {
		return err
	}
	body := payload[block.size:]
	var failure error
	if block.status != 0 {
		status := &StatusError{Status: block.status, Text: string(body)}
		for _, tag := range block.tags {
			if tag.number == 1 && status.RetryAfter == 0 {
				status.RetryAfter = time.Duration(binary.BigEndian.Uint32(tag.value)) * time.Millisecond
			}
		}
		body, failure = nil, status
	}
	if !block.hasCorrelation {
		return c.answerSlot(header, body, failure)
	}
	c.mu.Lock()
	pending := c.correlated[block.correlation]
	delete(c.correlated, block.correlation)
	c.mu.Unlock()
	if pending == nil || pending.header != header {
		return &ProtocolError{"bad_reply", "a reply came to no request of ours"}
	}
	pending.finish(body, failure)
	return nil
}

// answerSlot answers the oldest request without a correlation; header is 0xffff for ERROR, which has no route.
func (c *Client) answerSlot(header uint16, body []byte, failure error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.slots) == 0 || header != 0xffff && header != c.slots[0].header {
		return &ProtocolError{"bad_reply", "a reply came to no request of ours"}
	}
	pending := c.slots[0]
	c.slots = c.slots[1:]
	pending.finish(body, failure)
	return nil
}

func (c *Client) handleControl(header uint16, payload []byte) error {
	switch header {
	case ping:
		c.sayBeside(encode(pong, payload))
	case pong:
		if string(payload) == "ping" {
			select {
			case c.pongs <- struct{}{}:
			default:
			}
		}
	case errorFrame:
		text, err := parseText(payload, 2)
		if err != nil {
			return err
		}
		return c.answerSlot(0xffff, nil, &StatusError{Status: binary.BigEndian.Uint16(payload), Text: text})
	case goaway:
		text, err := parseText(payload, 6)
		if err != nil {
			return err
		}
		after := time.Duration(binary.BigEndian.Uint32(payload[2:])) * time.Millisecond
		c.mu.Lock()
		c.goaway = &Goaway{binary.BigEndian.Uint16(payload), after, text}
		c.mu.Unlock()
	case welcome:
		said, err := parseWelcome(payload)
		if err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.welcome != nil {
			return &ProtocolError{"bad_control", "WELCOME came twice"}
		}
		c.welcome = said
		close(c.welcomed)
	case hello, subscribe, unsubscribe, publish:
		return &ProtocolError{"wrong_direction", fmt.Sprintf("the server sent %04x, which only clients send", header)}
	}
	return nil
}

// sayBeside queues a PING or PONG if there is room; where there is none, the frames in front of it are life enough.
func (c *Client) sayBeside(frame []byte) {
	select {
	case c.beside <- frame:
	default:
	}
}

// watch asks a silent server for life, and gives up one that stays silent.
func (c *Client) watch() {
	ticker := time.NewTicker(c.options.PingAfter / 4)
	defer ticker.Stop()
	asked := int64(0)
	for {
		select {
		case <-c.ended:
			return
		case now := <-ticker.C:
			heard := c.heard.Load()
			silence := time.Duration(now.UnixNano() - heard)
			if silence >= 2*c.options.PingAfter {
				c.fail(errors.New("the server is silent"))
			} else if silence >= c.options.PingAfter && asked != heard {
				asked = heard
				c.sayBeside(encode(ping, []byte("life")))
			}
		}
	}
}

// fail is the end: every open request learns what is known of it.
func (c *Client) fail(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	var isFault *ProtocolError
	answeredFirst := false
	if c.goaway != nil {
		switch c.goaway.Status {
		case StatusProtocol, StatusUnauthenticated, StatusIdle, StatusTooLarge, StatusUnsupported:
			answeredFirst = true
		case StatusDraining: // told early to who said HELLO: there the replies come behind it, or not at all
			answeredFirst = c.welcome == nil
		}
	}
	of := func(isUnsent bool) error {
		if errors.As(cause, &isFault) {
			return isFault
		}
		return &EndedError{c.goaway, cause, answeredFirst || isUnsent}
	}
	c.err = of(false)
	close(c.stopping)
	c.conn.Close()
	<-c.stopped // else what is being written would be taken for unsent
	for _, pending := range c.slots {
		pending.finish(nil, of(!pending.isSent.Load()))
	}
	for _, pending := range c.correlated {
		pending.finish(nil, of(!pending.isSent.Load()))
	}
	c.slots, c.correlated = nil, nil
	close(c.ended)
}

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "tidegate.go: %v\n", err)
		os.Exit(1)
	}
}

func command(words []string) error {
	flags := flag.NewFlagSet("tidegate", flag.ExitOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "Usage: tidegate HOST:PORT|unix:PATH [OPTIONS] BODY...")
		flags.PrintDefaults()
	}
	route := flags.Uint("route", 1, "0 to 16383")
	deadline := flags.Uint("deadline-ms", 0, "what the server may take for each, in `milliseconds`; 0 is no deadline")
	correlate := flags.Bool("correlate", false, "replies may come in any order")
	oneWay := flags.Bool("one-way", false, "no reply is wanted")
	token := flags.String("token", "", "say HELLO with this token")
	timeout := flags.Float64("timeout", 10, "for all of it, in `seconds`")
	if len(words) == 0 || strings.HasPrefix(words[0], "-") {
		flags.Usage()
		return errors.New("the address comes first: HOST:PORT or unix:PATH")
	}
	_ = flags.Parse(words[1:])
	if *route > routeMax || flags.NArg() == 0 {
		return fmt.Errorf("wanted: a route up to %d, and at least one body", routeMax)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(*timeout*float64(time.Second)))
	defer cancel()
	client, err := Dial(ctx, words[0], Options{Token: *token})
	if err != nil {
		return err
	}
	defer client.Close(ctx)
	var sent []*Pending
	for _, body := range flags.Args() {
		request := Request{Route: uint16(*route), Body: []byte(body), Correlate: *correlate, OneWay: *oneWay,
			Deadline: time.Duration(*deadline) * time.Millisecond}
		pending, err := client.Send(ctx, request)
		if err != nil {
			return err
		}
		sent = append(sent, pending)
	}
	for _, pending := range sent {
		if *oneWay {
			break
		}
		reply, err := pending.Wait(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", reply)
	}
	return nil
}
