// Package frame is what both peers share: the frame `header u16 | length u32 | payload | crc u32`, big-endian,
// CRC-32/ISO-HDLC over all that precedes it; the service; and the listener.
//
// Always holds: every CRC is verified, and every reply is made anew. Never: how replies are written; that is what the
// peers differ in.
package frame

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"log"
	"net"
	"os"
	"runtime"
)

const (
	prefixBytes     = 6
	crcBytes        = 4
	payloadBytesMax = 4 << 20

	routeEcho = 1
	routeFlip = 3
)

// Read returns route and payload of the next frame. The payload lies in buffer if it has room for it.
func Read(in *bufio.Reader, buffer []byte) (uint16, []byte, error) {
	var prefix [prefixBytes]byte
	if _, err := io.ReadFull(in, prefix[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(prefix[2:])
	if length > payloadBytesMax {
		return 0, nil, fmt.Errorf("a payload of %d bytes, the limit is %d", length, payloadBytesMax)
	}
	if cap(buffer) < int(length)+crcBytes {
		buffer = make([]byte, length+crcBytes)
	}
	rest := buffer[:length+crcBytes]
	if _, err := io.ReadFull(in, rest); err != nil {
		return 0, nil, err
	}
	payload, crc := rest[:length], rest[length:]
	sum := crc32.Update(crc32.ChecksumIEEE(prefix[:]), crc32.IEEETable, payload)
	if sum != binary.BigEndian.Uint32(crc) {
		return 0, nil, fmt.Errorf("a frame with a wrong CRC")
	}
	return binary.BigEndian.Uint16(prefix[:]), payload, nil
}

// Serve does what the route does with a payload.
func Serve(route uint16, payload []byte) error {
	switch route {
	case routeEcho:
	case routeFlip:
		if len(payload) > 0 {
			payload[0] ^= 1
		}
	default:
		return fmt.Errorf("no route %d", route)
	}
	return nil
}

// Encode returns the bytes of a frame. They lie in buffer if it has room for them.
func Encode(route uint16, payload []byte, buffer []byte) []byte {
	end := prefixBytes + len(payload)
	if cap(buffer) < end+crcBytes {
		buffer = make([]byte, end+crcBytes)
	}
	frame := buffer[:end+crcBytes]
	binary.BigEndian.PutUint16(frame, route)
	binary.BigEndian.PutUint32(frame[2:], uint32(len(payload)))
	copy(frame[prefixBytes:], payload)
	binary.BigEndian.PutUint32(frame[end:], crc32.ChecksumIEEE(frame[:end]))
	return frame
}

// ListenAndServe runs handle in a goroutine for each connection to the address on the command line, on one processor.
func ListenAndServe(handle func(net.Conn) error) {
	if len(os.Args) != 2 {
		log.Fatal("give one ADDR, such as 127.0.0.1:7000")
	}
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer conn.Close()
			_ = handle(conn) // a peer that ends or breaks the protocol is closed, without a word
		}()
	}
}
