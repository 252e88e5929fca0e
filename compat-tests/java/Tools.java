package compat;
/** Kafka's command line tools. */
public final class Tools { public static void main(String[] a) { } }
