module example.com/reporthub

go 1.19
