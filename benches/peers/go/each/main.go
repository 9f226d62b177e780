// Command each: a goroutine a connection, a fresh buffer a message and a Write for every reply. The design that the
// standard library suggests. One processor; TCP_NODELAY is Go's own default.
package main

import (
	"bufio"
	"net"

	"tidegate.dev/benches/peers/frame"
)

func main() {
	frame.ListenAndServe(func(conn net.Conn) error {
		in := bufio.NewReader(conn)
		for {
			route, payload, err := frame.Read(in, nil)
			if err != nil {
				return err
			}
			if err := frame.Serve(route, payload); err != nil {
				return err
			}
			if _, err := conn.Write(frame.Encode(route, payload, nil)); err != nil {
				return err
			}
		}
	})
}
