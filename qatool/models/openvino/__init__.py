"""The OpenVINO backend: conversion, int8, and the guard over what it says."""
