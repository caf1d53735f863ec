"""The OpenVINO backend: conversion of models, int8, and a guard against batches of noise."""
