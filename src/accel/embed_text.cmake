# cmake -DIN=a.cl -DOUT=a.c -DNAME=symbol -P embed_text.cmake: a file as a C array, NUL-terminated.
file(READ ${IN} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUT} "#include \"accel/opencl.h\"\n\nconst char ${NAME}[] = {\n${bytes}0\n};\n")
