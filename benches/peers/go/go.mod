module tidegate.dev/benches/peers

go 1.19
