// Command batched: a goroutine a connection, replies gathered until no input is left in the buffer, and both
// buffers of a message used again. One processor; TCP_NODELAY is Go's own default.
//
// Half a frame in the buffer delays the replies before it until the rest has come. Clients that send whole frames
// never notice.
package main

import (
	"bufio"
	"net"

	"tidegate.dev/benches/peers/frame"
)

// Of memory that nobody touched only the pages that are used count.
const bufferBytes = 16 << 10

func main() {
	frame.ListenAndServe(func(conn net.Conn) error {
		in, out := bufio.NewReaderSize(conn, bufferBytes), bufio.NewWriterSize(conn, bufferBytes)
		var request, reply []byte
		for {
			route, payload, err := frame.Read(in, request)
			if err != nil {
				return err
			}
			request = payload
			if err := frame.Serve(route, payload); err != nil {
				return err
			}
			reply = frame.Encode(route, payload, reply)
			if _, err := out.Write(reply); err != nil {
				return err
			}
			if in.Buffered() == 0 {
				if err := out.Flush(); err != nil {
					return err
				}
			}
		}
	})
}
