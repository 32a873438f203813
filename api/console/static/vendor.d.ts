// The types of vendor.js, for tsc alone, which finds them in ../vendor/node_modules.
export { h, render, Fragment, createContext } from "preact";
export type { RefObject, VNode } from "preact";
export {
  useCallback,
  useContext,
  useEffect,
  useErrorBoundary,
  useId,
  useLayoutEffect,
  useMemo,
  useReducer,
  useRef,
  useState,
} from "preact/hooks";
export { batch, computed, effect, signal, useComputed, useSignal, useSignalEffect } from "@preact/signals";
export type { ReadonlySignal, Signal } from "@preact/signals";
export { html } from "htm/preact";
export { default as dagre } from "@dagrejs/dagre";
export { default as uPlot } from "uplot";
