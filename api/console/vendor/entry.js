// What the console uses of other packages; build.js bundles it as ../static/vendor.js.
import "uplot/dist/uPlot.min.css";

export { h, render, Fragment, createContext } from "preact";
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
export { html } from "htm/preact";
export { default as dagre } from "@dagrejs/dagre";
export { default as uPlot } from "uplot";
