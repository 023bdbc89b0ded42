#!/bin/sh
[ "$1" = yes ]
